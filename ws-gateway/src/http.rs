//! The one way in which the gateway asks others over HTTP: small answers, short waits, nothing kept.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Core and the container agent answer in milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A key set of 64 keys or a task's description are far below.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

pub struct HttpClient(Client<hyper_rustls::HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl HttpClient {
    pub fn new() -> anyhow::Result<HttpClient> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .context("reading the system's root certificates")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(HttpClient(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The body of a successful answer.
    pub async fn get(&self, url: &str) -> anyhow::Result<Bytes> {
        let asking = async {
            let response = self.0.get(url.parse().context("not a URL")?).await.context("asking")?;
            if !response.status().is_success() {
                bail!("answered {}", response.status());
            }
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(body.map_err(|error| anyhow::anyhow!("reading the body: {error}"))?.to_bytes())
        };
        match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("no answer within {} s", ANSWER_WITHIN.as_secs()),
        }
    }
}
