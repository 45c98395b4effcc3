//! How every call to AWS is made: counted, paced per service, repeated where repeating is safe. The SDK's own
//! retries are off, because it repeats creations whose answer was lost, and a VPC made twice is ours for ever.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use super::Aws;
use super::error::{classify, strange};
use crate::account::{CallError, Class};

/// Attempts at one call before its error is told. With the pauses below about 40 s in all: longer than the token
/// buckets of EC2 and ELB need to refill, shorter than a person waits for a tool that seems to hang.
const ATTEMPTS_MAX: u32 = 12;
/// A proxy that cannot reach AWS recovers within a second or two, a server that is no AWS never does.
const STRANGE_ATTEMPTS_MAX: u32 = 5;
const PAUSE_FIRST_MS: u64 = 80;
const PAUSE_MAX_MS: u64 = 8_000;

/// Calls in flight to one service at once. A whole snapshot is under 80 calls; more only fills AWS's buckets.
const IN_FLIGHT_MAX: usize = 32;

/// The number of calls made so far, by service and action.
#[derive(Debug, Default)]
pub struct CallLog(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl CallLog {
    fn count(&self, service: &'static str, action: &'static str) {
        let mut log = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *log.entry((service, action)).or_default() += 1;
    }

    /// `(service, action, calls)`, sorted.
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let log = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        log.iter().map(|(&(service, action), &calls)| (service, action, calls)).collect()
    }
}

/// The pace of each service: open until the first throttle, then half as fast after each further one.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) log: CallLog,
    services: Mutex<BTreeMap<&'static str, std::sync::Arc<ServicePace>>>,
}

#[derive(Debug)]
struct ServicePace {
    in_flight: tokio::sync::Semaphore,
    /// Milliseconds between two calls; 0 is open.
    gap_ms: AtomicU64,
    next: tokio::sync::Mutex<Option<Instant>>,
}

impl ServicePace {
    async fn wait(&self) {
        let gap_ms = self.gap_ms.load(Ordering::Relaxed);
        if gap_ms == 0 {
            return;
        }
        let at = {
            let mut next = self.next.lock().await;
            let at = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(at + Duration::from_millis(gap_ms));
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// The first throttle closes the gate to 20 calls a second, each further one halves that down to 2 a second, the
    /// refill rate that AWS documents for its slowest control planes.
    fn slow_down(&self) {
        let gap_ms = self.gap_ms.load(Ordering::Relaxed);
        self.gap_ms.store((gap_ms * 2).clamp(50, 500), Ordering::Relaxed);
    }

    fn speed_up(&self) {
        let gap_ms = self.gap_ms.load(Ordering::Relaxed);
        if gap_ms > 0 {
            self.gap_ms.store(gap_ms * 9 / 10, Ordering::Relaxed);
        }
    }
}

impl Pace {
    fn of(&self, service: &'static str) -> std::sync::Arc<ServicePace> {
        let mut services = self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::sync::Arc::clone(services.entry(service).or_insert_with(|| {
            std::sync::Arc::new(ServicePace {
                in_flight: tokio::sync::Semaphore::new(IN_FLIGHT_MAX),
                gap_ms: AtomicU64::new(0),
                next: tokio::sync::Mutex::new(None),
            })
        }))
    }
}

impl Aws {
    /// A call that changes nothing: repeated after throttling, lost answers and failures of the service.
    pub(crate) async fn read<T, E, F, Fut>(
        &self,
        service: &'static str,
        action: &'static str,
        make: F,
    ) -> Result<T, CallError>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let again = |class| matches!(class, Class::Throttled | Class::Lost | Class::Service);
        self.call(service, action, make, again).await
    }

    /// A call that changes something: repeated only when AWS said that nothing happened. A lost answer goes to the
    /// executor, which looks before it tries again.
    pub(crate) async fn change<T, E, F, Fut>(
        &self,
        service: &'static str,
        action: &'static str,
        make: F,
    ) -> Result<T, CallError>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.call(service, action, make, |class| class == Class::Throttled).await
    }

    async fn call<T, E, F, Fut>(
        &self,
        service: &'static str,
        action: &'static str,
        make: F,
        again: impl Fn(Class) -> bool + Send + Sync,
    ) -> Result<T, CallError>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let pace = self.calls.of(service);
        let mut pause_ms = PAUSE_FIRST_MS;
        let mut attempt = 1;
        loop {
            pace.wait().await;
            let answer = {
                let _permit = pace.in_flight.acquire().await;
                self.calls.log.count(service, action);
                Box::pin(make()).await
            };
            let error = match answer {
                Ok(answer) => {
                    pace.speed_up();
                    tracing::debug!(service, action, attempt, "called");
                    return Ok(answer);
                }
                Err(error) => classify(service, action, error),
            };
            tracing::debug!(service, action, attempt, class = ?error.class, code = error.code, "call failed");
            if error.class == Class::Throttled {
                pace.slow_down();
            }
            let attempts_max = if strange(&error) { STRANGE_ATTEMPTS_MAX } else { ATTEMPTS_MAX };
            if !again(error.class) || attempt >= attempts_max {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(spread(pause_ms, attempt))).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
            attempt += 1;
        }
    }
}

/// Between half and all of a pause, so that calls throttled together do not come back together.
fn spread(pause_ms: u64, attempt: u32) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(attempt);
    pause_ms / 2 + random % (pause_ms / 2 + 1)
}
