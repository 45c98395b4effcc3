//! What a test waits with: a sink that keeps every event, and waits that have a deadline and print the last
//! state when it passes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyway_bus::{BusEvent, EventSink};
use tokio::sync::Notify;

/// Far above anything a healthy bus takes, below a test runner's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct Recorder {
    events: Mutex<Vec<BusEvent>>,
    changed: Notify,
}

impl Recorder {
    pub fn new() -> Arc<Recorder> {
        Arc::default()
    }

    pub fn sink(self: &Arc<Recorder>) -> EventSink {
        let recorder = Arc::clone(self);
        Arc::new(move |event| {
            recorder.events.lock().unwrap().push(event);
            recorder.changed.notify_waiters();
        })
    }

    pub fn events(&self) -> Vec<BusEvent> {
        self.events.lock().unwrap().clone()
    }

    /// One line per event, for comparing with what a test expects.
    pub fn lines(&self) -> Vec<String> {
        self.events().iter().filter_map(line).collect()
    }

    /// The payloads of one channel's publications, in order.
    pub fn payloads(&self, channel: &str) -> Vec<String> {
        let of_channel = |event: &BusEvent| match event {
            BusEvent::Publication { channel: name, publication, .. } if &**name == channel => {
                Some(String::from_utf8_lossy(&publication.data).into_owned())
            }
            _ => None,
        };
        self.events().iter().filter_map(of_channel).collect()
    }

    pub async fn wait_for(&self, what: &str, done: impl Fn(&Recorder) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if done(self) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(20)..];
            panic!("waited in vain for {what}; {} events, the last of them: {last:#?}", lines.len());
        }
    }

    pub async fn wait_for_payloads(&self, channel: &str, wanted: &[&str]) {
        self.wait_for(&format!("{wanted:?} in {channel}"), |recorder| {
            recorder.payloads(channel).len() >= wanted.len()
        })
        .await;
        assert_eq!(self.payloads(channel), wanted, "payloads of {channel}");
    }
}

fn line(event: &BusEvent) -> Option<String> {
    Some(match event {
        BusEvent::Publication { channel, publication, .. } => {
            format!("{channel} {} {}", publication.offset, String::from_utf8_lossy(&publication.data))
        }
        BusEvent::Join { channel, info } => format!("{channel} join {}/{}", info.user, info.client),
        BusEvent::Leave { channel, info } => format!("{channel} leave {}/{}", info.user, info.client),
        BusEvent::Control(control) => format!("control {control:?}"),
        BusEvent::Gap { channel, top } => format!("{channel} gap up to {}", top.offset),
        BusEvent::PositionsSuspect => return None,
    })
}

/// Waits until an asynchronous question has the wanted answer; prints the last answer otherwise.
pub async fn until<T: std::fmt::Debug, Fut: Future<Output = T>>(
    what: &str,
    mut ask: impl FnMut() -> Fut,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}; last: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
