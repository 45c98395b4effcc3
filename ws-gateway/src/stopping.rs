//! Notices that an orchestrator wants the task gone before it says so with a signal: ECS takes the task out of
//! the load balancer first, waits, and only then sends SIGTERM; its metadata endpoint tells at once.

use std::time::Duration;

use serde::Deserialize;

use crate::http::HttpClient;

/// Early enough in a window of 30 s, and nothing for the container agent.
const LOOK_EVERY: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(default)]
    desired_status: String,
}

/// Whether a task description says that the task is to stop.
pub fn is_to_stop(description: &[u8]) -> bool {
    serde_json::from_slice::<Task>(description).is_ok_and(|task| task.desired_status == "STOPPED")
}

/// Completes when the task is to stop. Never, without an address.
pub async fn wanted(metadata_url: String) {
    if metadata_url.is_empty() {
        return std::future::pending().await;
    }
    let client = match HttpClient::new() {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "cannot look at the task's metadata; SIGTERM still works");
            return std::future::pending().await;
        }
    };
    let url = format!("{}/task", metadata_url.trim_end_matches('/'));
    loop {
        match client.get(&url).await {
            Ok(description) if is_to_stop(&description) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = %format!("{error:#}"), "the task's metadata does not answer")
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_stops() {
        for (description, expected) in [
            (r#"{"Cluster":"c","DesiredStatus":"RUNNING","KnownStatus":"RUNNING"}"#, false),
            (r#"{"Cluster":"c","DesiredStatus":"STOPPED","KnownStatus":"RUNNING"}"#, true),
            ("{}", false),
            ("not json", false),
        ] {
            assert_eq!(is_to_stop(description.as_bytes()), expected, "{description}");
        }
    }
}
