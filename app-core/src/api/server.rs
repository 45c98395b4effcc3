//! A port of the API: bounded in connections and in the time that a request's head may take, so that slow callers hold
//! places for seconds and not for ever. Owns accepting and ending; the routes come as a value.

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// A load balancer keeps some hundred; each costs a task and a few kilobytes.
const CONNECTIONS_MAX: usize = 4_096;
/// Slow networks deliver a request's head within seconds.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Out of descriptors, most likely: connections that are there go on, new ones wait in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on a port until `stop`; what is begun is finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopper, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            // A place first: who finds none waits in the backlog, which the kernel bounds.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        let Ok(place) = place else { break };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small: they leave at once.
        let _ = stream.set_nodelay(true);
        let (service, mut stopped) = (TowerToHyperService::new(router.clone()), stopped.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            // A sender that is gone means the end as well.
            let ended = async { drop(stopped.wait_for(|stopped| *stopped).await) };
            let served = tokio::select! {
                served = connection.as_mut() => Some(served),
                () = ended => None,
            };
            let served = match served {
                Some(served) => served,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a request that came to nothing");
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = stopper.send(true);
    // Every place is free when the last connection has ended; whoever called bounds this wait.
    let _ = places.acquire_many(CONNECTIONS_MAX as u32).await;
    Ok(())
}
