//! Waiting for what AWS does by itself: objects on their way up, and on their way out. Every wait has a deadline and
//! says what it waits for.

use std::time::Duration;

use infra_model::operations::Node;
use infra_model::snapshot::State;
use tokio::time::Instant;

use super::Execution;
use crate::account::{CallError, Class};

/// Waits end after this many times the expected duration, but never before [`WAIT_MIN`]: three times covers the slowest
/// of the public timings the expectations come from.
const WAIT_FACTOR: u32 = 4;
const WAIT_MIN: Duration = Duration::from_secs(10 * 60);

impl Execution<'_> {
    pub(super) async fn settle(&self, node: &Node) -> Result<(), CallError> {
        let Some(mut object) = self.object(&node.address) else { return Ok(()) };
        let mut pauses = self.pauses(deadline(node));
        // Right after its creation an object may not be visible to a reader yet.
        let visible = Instant::now() + self.settings.lag + Duration::from_secs(60);
        let mut last = "to be visible".to_owned();
        loop {
            match self.account.look(node.kind, &object.id).await {
                Ok(Some(look)) => match look.state {
                    State::Ready => {
                        object.attributes.extend(look.attributes);
                        object.state = State::Ready;
                        self.put(&node.address, object);
                        return Ok(());
                    }
                    State::Failed(why) => return Err(fatal(format!("it has failed: {why}"))),
                    State::Deleting => return Err(fatal("somebody is deleting it".to_owned())),
                    State::Pending(word) => last = word,
                },
                Ok(None) if Instant::now() < visible => {}
                Ok(None) => return Err(fatal(format!("{} is gone", object.id))),
                Err(error) if passing(error.class) => last = error.to_string(),
                Err(error) => return Err(error),
            }
            self.waiting(node, &last);
            if !pauses.pause().await? {
                return Err(fatal(format!("not ready after {} s; it is still {last}", deadline_s(node))));
            }
        }
    }

    pub(super) async fn gone(&self, node: &Node) -> Result<(), CallError> {
        let Some(object) = self.old(&node.address) else { return Ok(()) };
        let mut pauses = self.pauses(deadline(node));
        loop {
            let last = match self.account.look(node.kind, &object.id).await {
                Ok(None) => return Ok(()),
                Ok(Some(look)) => format!("{:?}", look.state).to_lowercase(),
                Err(error) if passing(error.class) => error.to_string(),
                Err(error) => return Err(error),
            };
            self.waiting(node, &last);
            if !pauses.pause().await? {
                let blockers = self.account.blockers(node.kind, &object.id).await.ok().flatten();
                let why = blockers.map(|what| format!(": {what}")).unwrap_or_default();
                return Err(fatal(format!("not gone after {} s{why}", deadline_s(node))));
            }
        }
    }
}

fn passing(class: Class) -> bool {
    matches!(class, Class::Throttled | Class::NotYet | Class::Lost | Class::Service)
}

fn deadline(node: &Node) -> Duration {
    (Duration::from_secs(node.expected_s.into()) * WAIT_FACTOR).max(WAIT_MIN)
}

fn deadline_s(node: &Node) -> u64 {
    deadline(node).as_secs()
}

fn fatal(message: String) -> CallError {
    CallError::new("infra", "wait", Class::Fatal, message)
}
