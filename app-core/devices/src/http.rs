//! The little HTTP/1.1 that enrolment needs: one request on one connection, JSON both ways. For loopback and a network
//! of your own: TLS is not in the virtual devices.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Core answers in milliseconds; a person at a door waits for seconds.
const WITHIN: Duration = Duration::from_secs(10);
/// An enrolment's answer is a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// `http://host:port` as the host and port to connect to.
fn place(base: &str) -> anyhow::Result<&str> {
    let rest = base.trim_end_matches('/').strip_prefix("http://");
    let place = rest.with_context(|| format!("{base}: expected http://host:port, without a path"))?;
    ensure!(!place.is_empty() && !place.contains('/'), "{base}: expected http://host:port, without a path");
    Ok(place)
}

/// The status and the JSON of an answer.
pub async fn call(
    method: &str,
    base: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> anyhow::Result<(u16, Value)> {
    let place = place(base)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let authorization = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(place).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(WITHIN, exchange)
        .await
        .with_context(|| format!("{base}{path} did not answer within 10 s"))?
        .with_context(|| format!("could not reach {base}{path}"))?;
    read(&answer).with_context(|| format!("the answer of {base}{path}"))
}

fn read(answer: &[u8]) -> anyhow::Result<(u16, Value)> {
    let text = std::str::from_utf8(answer).context("not text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunked(body)? } else { body.to_owned() };
    let value =
        if body.trim().is_empty() { Value::Null } else { serde_json::from_str(&body).context("not JSON")? };
    Ok((status, value))
}

fn dechunked(mut rest: &str) -> anyhow::Result<String> {
    let mut body = String::new();
    // Each turn takes a chunk away; the text is bounded.
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).context("a chunk without its size")?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(after.get(..size).context("a chunk that is cut")?);
        rest = after.get(size + 2..).context("a chunk that is cut")?;
    }
    bail!("no last chunk")
}

/// The JSON of a 2xx answer; a problem's code and detail otherwise.
pub async fn wanted(
    method: &str,
    base: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let (status, value) = call(method, base, path, key, body).await?;
    ensure!(
        (200..300).contains(&status),
        "{method} {path}: {status} {}: {}",
        value["code"].as_str().unwrap_or("?"),
        value["detail"].as_str().unwrap_or("")
    );
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_whole_and_in_chunks() {
        let whole = "HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(read(whole.as_bytes()).unwrap(), (201, serde_json::json!({"a": 1})));
        let chunks =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(read(chunks.as_bytes()).unwrap(), (200, serde_json::json!({"a": 1})));
        for bad in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["https://a", "http://", "http://a/b", "a:1"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
