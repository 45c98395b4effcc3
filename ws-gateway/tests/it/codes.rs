//! Every close code, every error number and the smaller bounds, each reached on a real socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keyway_protocol::close::CLOSES;
use keyway_protocol::error::ERRORS;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gateway::{self, DEVELOPMENT};
use crate::raw::{Raw, Seen};
use crate::tokens::{CORE, unix_s, with_keys};

const KEY: &str = "a-key-of-the-tests-only";

fn close(code: u16, reason: &str) -> Seen {
    Seen::Close(code, reason.to_owned())
}

/// The status and the whole answer to one request, or what there was of it when the server hung up.
async fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may hang up before it has read everything.
    let _cut = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

async fn call(address: SocketAddr, method: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!("POST /api/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {KEY}\r\n");
    http(address, &format!("{head}Content-Length: {length}\r\n\r\n{body}")).await
}

/// The codes that are a backend's choice come with their own reason unless it names another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_close_that_a_backend_may_choose() {
    let text = format!("{DEVELOPMENT}anonymous_user = \"per_1\"\n[server_api]\nkey = \"{KEY}\"\n");
    let gateway = gateway::start(&text).await;
    let mut cases: Vec<(u16, &str, &str)> =
        CLOSES.iter().filter(|it| it.code >= 3000).map(|it| (it.code, "", &*it.reason)).collect();
    assert!(cases.len() > 15);
    cases.extend([
        (4000, "moved", "moved"),
        (4499, "", ""),
        (4999, "42", "- 42"),
        (3503, "evicted", "evicted"),
    ]);
    for (code, given, shown) in cases {
        let mut raw = Raw::connected(gateway.public).await;
        let body = json!({"user": "per_1", "disconnect": {"code": code, "reason": given}});
        let (status, answer) = call(gateway.private, "disconnect", &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(raw.end().await, close(code, shown));
    }
}

/// What core answers reaches the client as it said it, its own numbers and those that the gateway has, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_that_core_may_choose() {
    let gateway =
        gateway::start(&format!("{DEVELOPMENT}[limits]\ncommands_per_s = 0\nuser_commands_per_s = 0\n"))
            .await;
    let mut raw = Raw::connected(gateway.public).await;
    let named = ERRORS.iter().map(|(code, message, temporary)| (*code, *message, *temporary));
    for (code, message, temporary) in named.chain([(400, "no such door", false), (1999, "later", true)]) {
        let data = json!({"code": code, "message": message, "temporary": temporary});
        let command = json!({"id": code, "rpc": {"method": "refuse", "data": data}});
        let mut wanted = json!({"code": code, "message": message});
        if temporary {
            wanted["temporary"] = json!(true);
        }
        assert_eq!(raw.ask(&command.to_string()).await["error"], wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let token = CORE.token(unix_s(), json!({}));
    for frame in [
        "",
        "\n",
        " ",
        "nonsense",
        "[]",
        "1",
        "null",
        r#"{"id":1,"connect":5}"#,
        r#"{"id":1}"#,
        "{}",
        r#"{"id":1,"rpc":{"method":"echo"}}"#,
        r#"{"id":1,"subscribe":{"channel":"site:acme.1"}}"#,
        r#"{"send":{"data":1}}"#,
        r#"{"connect":{}}"#,
        r#"{"id":-1,"connect":{}}"#,
        r#"{"id":4294967296,"connect":{}}"#,
    ] {
        let mut raw = Raw::open(gateway.public).await;
        raw.send(frame).await;
        assert_eq!(raw.end().await, close(3501, "bad request"), "before connect: {frame:?}");
    }
    for command in [
        json!({"id": 2, "connect": {"token": token}}),
        json!({"id": 2, "ping": {}}),
        json!({"id": 2}),
        json!({}),
        json!({"rpc": {"method": "echo"}}),
        json!({"subscribe": {"channel": "site:acme.1"}}),
        json!({"id": 2, "subscribe": {"channel": ""}}),
        json!({"id": 2, "subscribe": {}}),
        json!({"id": 2, "unsubscribe": {}}),
        json!({"id": 2, "publish": {"data": 1}}),
        json!({"id": 2, "publish": {"channel": "open:acme.1"}}),
        json!({"id": 2, "history": {}}),
        json!({"id": 2, "presence": {}}),
        json!({"id": 2, "presence_stats": {}}),
        json!({"id": 2, "refresh": {}}),
        json!({"id": 2, "sub_refresh": {"channel": "open:acme.1"}}),
        json!({"id": 2, "sub_refresh": {"token": token}}),
        json!({"id": 2, "subscribe": {"channel": 7}}),
    ] {
        let mut raw = Raw::connected_with(gateway.public, &token).await;
        raw.send(&command.to_string()).await;
        assert_eq!(raw.end().await, close(3501, "bad request"), "{command}");
    }
}

/// Frames that are not of RFC 6455, and the last byte that fits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_frame_and_the_largest_right_one() {
    let gateway = gateway::start(DEVELOPMENT).await;
    let mask = [0; 4];
    let masked =
        |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8], &mask[..], payload].concat();
    for (what, bytes) in [
        ("not masked", vec![0x81, 1, b'a']),
        ("a reserved bit", masked(0xc1, b"{}")),
        ("an unknown opcode", masked(0x83, b"{}")),
        ("a control frame in parts", masked(0x09, b"a")),
        ("a part of nothing", masked(0x80, b"{}")),
        ("a second beginning", [masked(0x01, b"{"), masked(0x81, b"}")].concat()),
        ("a close with half a code", masked(0x88, &[3])),
    ] {
        let mut raw = Raw::connected(gateway.public).await;
        raw.send_bytes(&bytes).await;
        assert_eq!(raw.end().await, close(1002, "protocol error"), "{what}");
    }
    let command = |bytes: usize| {
        let empty = json!({"id": 2, "rpc": {"method": "echo", "data": ""}}).to_string();
        json!({"id": 2, "rpc": {"method": "echo", "data": "x".repeat(bytes - empty.len())}}).to_string()
    };
    let mut raw = Raw::connected(gateway.public).await;
    assert!(raw.ask(&command(64 * 1024)).await["rpc"].is_object());
    raw.send(&command(64 * 1024 + 1)).await;
    assert_eq!(raw.end().await, close(1009, "message size limit"));
}

/// What comes before the upgrade is bounded, too, and so is what a backend asks over HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bounds_of_http() {
    let gateway = gateway::start(&format!("{DEVELOPMENT}[server_api]\nkey = \"{KEY}\"\n")).await;
    let long =
        format!("GET /connection/websocket HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(17 * 1024));
    assert_eq!(http(gateway.public, &long).await.0, 431);

    let channels: Vec<String> = (0..=1000).map(|n| format!("site:a.{n}")).collect();
    for (count, wanted) in [(1000, 1000), (1001, 0)] {
        let body = json!({"channels": channels[..count], "data": 1}).to_string();
        let (status, answer) = call(gateway.private, "broadcast", &body).await;
        let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(status, 200);
        assert_eq!(answer["result"]["responses"].as_array().map_or(0, Vec::len), wanted, "{count}");
        assert_eq!(answer["error"]["code"].as_u64(), (wanted == 0).then_some(107));
    }
    let data = json!({"channel": "site:a.1", "data": "x".repeat(1024 * 1024)}).to_string();
    assert!(
        call(gateway.private, "publish", &data).await.1.contains("\"code\":107"),
        "more than a payload may have"
    );
    let data = json!({"channel": "site:a.1", "data": "x".repeat(3 * 1024 * 1024)}).to_string();
    assert_eq!(call(gateway.private, "publish", &data).await.0, 413);

    // Half a request is waited for, but not for ever.
    let begun = Instant::now();
    let mut slow = TcpStream::connect(gateway.public).await.unwrap();
    slow.write_all(b"GET /connection/websocket HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(40), slow.read_to_end(&mut answer))
        .await
        .expect("an end")
        .unwrap();
    assert!(begun.elapsed() > Duration::from_secs(9), "{answer:?}");
}
