//! Work that must never end while its owner lives. A panic in it would be worse than a crash of the process: everything
//! else goes on, looks healthy, and nobody reads, renews or repairs any more. It is told and begun anew.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

/// The pause before work begins anew: what panics at once must not fill a core and a log.
const BEGIN_ANEW: Duration = Duration::from_millis(200);

/// Runs what `begin` gives, for ever. What the work has to keep over a panic is its owner's, not the future's.
pub(crate) async fn tireless<Work: Future<Output = ()>>(what: &str, mut begin: impl FnMut() -> Work) {
    loop {
        let panicked = is_panic(async { begin().await }).await;
        tracing::error!(what, panicked, "work that never ends has ended; beginning it anew");
        tokio::time::sleep(BEGIN_ANEW).await;
    }
}

/// Runs one piece of work to its end, or to its panic, which the caller then makes good.
pub(crate) async fn is_panic(work: impl Future<Output = ()>) -> bool {
    AssertUnwindSafe(work).catch_unwind().await.is_err()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_begun_anew_however_it_ended() {
        let begun = Cell::new(0);
        let work = tireless("a test", || async {
            begun.set(begun.get() + 1);
            match begun.get() {
                1 => panic!("as asked"),
                2 => {}
                _ => std::future::pending().await,
            }
        });
        assert!(tokio::time::timeout(BEGIN_ANEW * 10, work).await.is_err(), "for ever");
        assert_eq!(begun.get(), 3);
    }
}
