//! Reads core's key set over HTTP, again every few minutes and when a token names an unknown key, but never more
//! often than a bound. A set that cannot be read changes nothing: the last good one stays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::auth::KeySet;
use crate::config::Config;
use crate::node::Node;

/// Unknown key ids may be somebody's guesses: core sees at most one read per this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Core answers in milliseconds; connecting clients get error 100 meanwhile.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// 64 keys of some 200 bytes are below a tenth of this.
const SET_BYTES_MAX: usize = 256 * 1024;

/// Keeps the node's keys fresh until the future is dropped.
pub async fn keep(node: Arc<Node>, config: Arc<Config>) {
    if config.tokens.jwks_url.is_empty() {
        return std::future::pending().await;
    }
    let client = match client() {
        Ok(client) => client,
        Err(error) => return tracing::error!(error = %format!("{error:#}"), "cannot read key sets"),
    };
    let every = Duration::from_secs(config.tokens.refresh_s);
    loop {
        let read = tokio::time::timeout(READ_WITHIN, read(&client, &config.tokens.jwks_url)).await;
        let keys = match read {
            Ok(Ok(keys)) => config.with_secret(keys).map_err(anyhow::Error::from),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow::anyhow!("no answer within {} s", READ_WITHIN.as_secs())),
        };
        let wait = match keys {
            Ok(keys) => {
                node.rules.authority.replace_keys(keys);
                every
            }
            Err(error) => {
                tracing::warn!(url = config.tokens.jwks_url, error = %format!("{error:#}"), "cannot read the key set");
                READ_AGAIN_AFTER
            }
        };
        tokio::time::sleep(READ_AGAIN_AFTER).await;
        // Rung while we slept: answered at once. Not rung: at the regular time.
        let regular = tokio::time::sleep(wait.saturating_sub(READ_AGAIN_AFTER));
        futures::future::select(std::pin::pin!(regular), std::pin::pin!(node.keys_wanted.notified())).await;
    }
}

type HttpsClient = Client<hyper_rustls::HttpsConnector<HttpConnector>, Empty<Bytes>>;

fn client() -> anyhow::Result<HttpsClient> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .context("reading the system's root certificates")?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

async fn read(client: &HttpsClient, url: &str) -> anyhow::Result<KeySet> {
    let response = client.get(url.parse().context("the address is not a URL")?).await.context("asking")?;
    if !response.status().is_success() {
        bail!("answered {}", response.status());
    }
    let body = Limited::new(response.into_body(), SET_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("reading the body: {error}"))?
        .to_bytes();
    Ok(KeySet::parse_jwks(&body)?)
}
