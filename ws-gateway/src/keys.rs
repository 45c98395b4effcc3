//! Reads core's key set over HTTP, again every few minutes and when a token names an unknown key, but never more
//! often than a bound. A set that cannot be read changes nothing: the last good one stays.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::KeySet;
use crate::config::Config;
use crate::http::HttpClient;
use crate::node::Node;

/// Unknown key ids may be somebody's guesses: core sees at most one read per this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Keeps the node's keys fresh until the future is dropped.
pub async fn keep(node: Arc<Node>, config: Arc<Config>) {
    if config.tokens.jwks_url.is_empty() {
        return std::future::pending().await;
    }
    let client = match HttpClient::new() {
        Ok(client) => client,
        Err(error) => return tracing::error!(error = %format!("{error:#}"), "cannot read key sets"),
    };
    let every = Duration::from_secs(config.tokens.refresh_s);
    loop {
        let wait = match read(&client, &config).await {
            Ok(keys) => {
                node.replace_keys(keys);
                every
            }
            Err(error) => {
                let url = &config.tokens.jwks_url;
                tracing::warn!(url, error = %format!("{error:#}"), "cannot read the key set");
                READ_AGAIN_AFTER
            }
        };
        tokio::time::sleep(READ_AGAIN_AFTER).await;
        // Rung while we slept: answered at once. Not rung: at the regular time.
        let regular = tokio::time::sleep(wait.saturating_sub(READ_AGAIN_AFTER));
        futures::future::select(std::pin::pin!(regular), std::pin::pin!(node.keys_wanted.notified())).await;
    }
}

async fn read(client: &HttpClient, config: &Config) -> anyhow::Result<KeySet> {
    let body = client.get(&config.tokens.jwks_url).await?;
    Ok(config.with_secret(KeySet::parse_jwks(&body)?)?)
}
