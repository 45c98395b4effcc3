//! Serving: one lane per partition key keeps order, lanes run side by side, a failed request holds only its own
//! lane. It owns pauses, delivery counts and draining; it does not know where requests are stored.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::backend::{Handler, Outcome, RequestQueue, ServeOptions, Taken};
use crate::error::BusError;

/// The pause after a queue error: long enough not to spin, short enough to be back within a lease.
const QUEUE_ERROR_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause between two deliveries of one request.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

type LaneKey = (u16, String);
type Lanes = Mutex<HashMap<LaneKey, VecDeque<(Taken, OwnedSemaphorePermit)>>>;

struct Server {
    queue: Arc<dyn RequestQueue>,
    handler: Handler,
    options: ServeOptions,
    /// A lane exists here exactly as long as its task runs.
    lanes: Lanes,
}

pub(crate) async fn serve(
    queue: Arc<dyn RequestQueue>,
    options: ServeOptions,
    handler: Handler,
    stop: BoxFuture<'static, ()>,
) -> Result<(), BusError> {
    let in_flight_max = options.in_flight_max.max(1);
    let drain = Duration::from_millis(options.drain_ms_max);
    let server = Arc::new(Server { queue, handler, options, lanes: Mutex::default() });
    let permits = Arc::new(Semaphore::new(in_flight_max));
    // Dropping the set with this future aborts the lanes: a crash in every respect.
    let mut tasks = JoinSet::new();
    let mut stop = stop.fuse();
    loop {
        while tasks.try_join_next().is_some() {}
        let take = async {
            // A free place first, and then as many as there are places.
            drop(permits.acquire().await);
            server.queue.take(permits.available_permits()).await
        };
        let taken = tokio::select! {
            biased;
            () = &mut stop => break,
            taken = take => taken,
        };
        match taken {
            Ok(taken) => {
                for one in taken {
                    let permit = Arc::clone(&permits)
                        .try_acquire_owned()
                        .expect("a queue gives at most what was asked for, and only this loop takes permits");
                    server.enqueue(one, permit, &mut tasks);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "taking requests failed; trying again");
                tokio::time::sleep(QUEUE_ERROR_PAUSE).await;
            }
        }
    }
    server.drain(&mut tasks, drain).await;
    server.queue.leave().await
}

impl Server {
    fn enqueue(self: &Arc<Server>, taken: Taken, permit: OwnedSemaphorePermit, tasks: &mut JoinSet<()>) {
        let key = (taken.delivery.partition, taken.delivery.request.partition_key.clone());
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get_mut(&key) {
            lane.push_back((taken, permit));
            return;
        }
        lanes.insert(key.clone(), VecDeque::new());
        drop(lanes);
        tasks.spawn(Arc::clone(self).run_lane(key, taken, permit));
    }

    async fn run_lane(self: Arc<Server>, key: LaneKey, first: Taken, permit: OwnedSemaphorePermit) {
        let mut next = Some((first, permit));
        while let Some((taken, permit)) = next {
            self.settle(taken).await;
            drop(permit);
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            next = lanes.get_mut(&key).and_then(VecDeque::pop_front);
            if next.is_none() {
                lanes.remove(&key);
            }
        }
    }

    /// Delivers until the request is settled, buried, or no longer ours.
    async fn settle(&self, mut taken: Taken) {
        let mut pause = Duration::from_millis(self.options.retry_first_ms);
        // Each turn adds a delivery, and `deliveries_max` ends it.
        loop {
            if !self.queue.holds(&taken) {
                return self.queue.abandon(&taken);
            }
            if taken.delivery.deliveries > self.options.deliveries_max {
                return self.bury(&taken, "given up by backends that never finished it").await;
            }
            // Called inside, because a handler may panic before it has given its future.
            let answer = AssertUnwindSafe(async { self.handler.call(taken.delivery.clone()).await });
            let within = Duration::from_millis(self.options.handler_ms_max);
            let outcome = match tokio::time::timeout(within, answer.catch_unwind()).await {
                Ok(answered) => {
                    answered.unwrap_or_else(|_| Outcome::Retry("the handler panicked".to_owned()))
                }
                Err(_) => {
                    let method = &taken.delivery.request.method;
                    tracing::error!(method, entry = taken.entry, "a handler did not end; it is begun anew");
                    Outcome::Retry(format!("the handler took longer than {} s", within.as_secs()))
                }
            };
            let reason = match outcome {
                Outcome::Reply(reply) => {
                    if let Err(error) = self.queue.finish(&taken, reply).await {
                        tracing::warn!(%error, entry = taken.entry, "acknowledging failed; it will be redelivered");
                        self.queue.abandon(&taken);
                    }
                    return;
                }
                Outcome::Retry(reason) => reason,
            };
            if taken.delivery.deliveries >= self.options.deliveries_max {
                return self.bury(&taken, &reason).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            if let Err(error) = self.queue.count(&taken).await {
                tracing::warn!(%error, entry = taken.entry, "counting a delivery failed; it will be redelivered");
                return self.queue.abandon(&taken);
            }
            taken.delivery.deliveries += 1;
        }
    }

    async fn bury(&self, taken: &Taken, reason: &str) {
        let method = &taken.delivery.request.method;
        tracing::error!(method, entry = taken.entry, reason, "request goes to the dead letters");
        if let Err(error) = self.queue.bury(taken, reason).await {
            tracing::warn!(%error, entry = taken.entry, "burying failed; it will be redelivered");
            self.queue.abandon(taken);
        }
    }

    /// At the end of `drain` the rest is left to the next holder.
    async fn drain(&self, tasks: &mut JoinSet<()>, drain: Duration) {
        let finished = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, finished).await.is_err() {
            tracing::warn!("stopping with requests unfinished");
        }
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }
}
