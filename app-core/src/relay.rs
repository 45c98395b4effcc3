//! Core on the bus: answers requests of devices and phones, sends what is in the outbox, looks at what time changes,
//! and sees who is there. Owns the loops and their bounds; what is decided is decided in `decide`.

pub mod calls;
pub mod outbox;
pub mod presence;
pub mod timers;

mod access_request;
mod attempts;
mod command_get;
mod command_report;
mod device_sync;
mod door_unlock;
mod event_report;
mod keys_list;
mod time_sync;

pub use command_get::cancelled;
pub use door_unlock::{command, wait};
pub use keys_list::doors_of;

use crate::core::{Core, HOPS};
use crate::metrics::add;
use bytes::Bytes;
use calls::{Call, Refused, Serve};
use futures::future::BoxFuture;
use keyway_bus::{Backend, Delivery, Handler, Outcome, ServeOptions};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// One method of the catalogue: its name, and what answers it.
pub struct Method {
    pub name: &'static str,
    pub serve: Serve,
}

/// Every method that core answers, one file each.
pub const METHODS: &[Method] = &[
    device_sync::METHOD,
    event_report::METHOD,
    command_report::METHOD,
    access_request::METHOD,
    time_sync::METHOD,
    door_unlock::METHOD,
    command_get::GET,
    command_get::CANCEL,
    keys_list::KEYS,
    keys_list::STATE,
];

/// Serves requests until `stop`; what is begun is finished.
pub async fn serve(
    core: Arc<Core>,
    backend: Arc<dyn Backend>,
    in_flight_max: usize,
    lease_ms: u64,
    stop: BoxFuture<'static, ()>,
) -> anyhow::Result<()> {
    let options = ServeOptions { name: "core".into(), in_flight_max, lease_ms, ..ServeOptions::default() };
    let handler = Handler::new(move |delivery| answer(Arc::clone(&core), delivery));
    backend.serve(options, handler, stop).await?;
    Ok(())
}

/// A request is always answered and never delivered again: devices and phones repeat by themselves, with the same ids,
/// and a database that is away is told as `temporary` at once.
async fn answer(core: Arc<Core>, delivery: Delivery) -> Outcome {
    let begun = Instant::now();
    add(&core.metrics.requests, 1);
    let request = delivery.request;
    tracing::trace!(target: HOPS, method = request.method, "taken from the bus");
    let (method, user) = (request.method.clone(), request.user.clone());
    if request.deadline_ms <= core.clock.now().0 {
        // Nobody waits any more; doing it now would be doing it late.
        add(&core.metrics.requests_late, 1);
        return Outcome::Reply(Err(Refused::Late.into()));
    }
    let answered = match (METHODS.iter().find(|known| known.name == method), Call::read(request)) {
        (None, _) => Err(Refused::NoMethod),
        (_, Err(refused)) => Err(refused),
        (Some(known), Ok(call)) => (known.serve)(Arc::clone(&core), call).await,
    };
    core.metrics.request_time.observe(begun.elapsed());
    match &answered {
        Ok(_) => {}
        Err(refused) if refused.is_temporary() => {
            core.metrics.requests_failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(method, error = %refused, "answered as temporary");
        }
        Err(refused) => {
            core.metrics.requests_refused.fetch_add(1, Ordering::Relaxed);
            if method == event_report::METHOD.name {
                // A door repeats it and keeps its events: people have to know, and why.
                tracing::warn!(method, device = user, error = %refused, "events are refused");
            } else {
                tracing::debug!(method, error = %refused, "refused");
            }
        }
    }
    Outcome::Reply(answered.map_err(Into::into))
}

/// A reply of ours as bytes.
fn reply<T: serde::Serialize>(value: &T) -> Result<Bytes, Refused> {
    Ok(Bytes::from(serde_json::to_vec(value).expect("our replies have string keys only")))
}
