//! The private port: health, metrics, and the server API in Centrifugo's shapes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use ws_gateway::config::EmfConfig;

use crate::gateway;
use crate::raw::{Raw, Seen};

const KEY: &str = "a-key-of-the-tests-only";

async fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

async fn post(address: SocketAddr, key: &str, method: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let length = body.len();
    http(
        address,
        &format!(
            "POST /api/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn centrifugos_calls() {
    let gateway = gateway::start(&format!(
        "insecure = true\nanonymous_user = \"per_1\"\n[server_api]\nkey = \"{KEY}\"\n"
    ))
    .await;
    let mut raw = Raw::connected(gateway.public).await;
    raw.ask(r#"{"id":2,"subscribe":{"channel":"site:a.1"}}"#).await;
    assert_eq!(post(gateway.private, "wrong", "info", &json!({})).await.0, 401);
    assert_eq!(post(gateway.private, KEY, "fly", &json!({})).await.0, 404);
    let call = async |method: &str, body: Value| -> Value {
        let (status, text) = post(gateway.private, KEY, method, &body).await;
        assert_eq!(status, 200, "{method}: {text}");
        serde_json::from_str(&text).unwrap()
    };
    let published =
        call("publish", json!({"channel": "site:a.1", "data": {"n": 1}, "idempotency_key": "k"})).await;
    assert_eq!(published["result"]["offset"], 1, "{published}");
    let again =
        call("publish", json!({"channel": "site:a.1", "data": {"n": 1}, "idempotency_key": "k"})).await;
    assert_eq!(again, published, "once");
    assert_eq!(raw.next().await.json()["push"]["pub"]["data"], json!({"n": 1}));
    let many = call("broadcast", json!({"channels": ["site:a.1", "nowhere:x"], "data": {"n": 2}})).await;
    assert_eq!(many["result"]["responses"][0]["result"]["offset"], 2);
    assert_eq!(many["result"]["responses"][1]["error"]["code"], 102);
    assert_eq!(raw.next().await.json()["push"]["pub"]["offset"], 2);
    let history = call("history", json!({"channel": "site:a.1", "limit": 1, "reverse": true})).await;
    assert_eq!(history["result"]["publications"], json!([{"data": {"n": 2}, "offset": 2}]));
    let present = call("presence", json!({"channel": "site:a.1"})).await;
    assert_eq!(present["result"]["presence"].as_object().unwrap().len(), 1);
    let stats = call("presence_stats", json!({"channel": "site:a.1"})).await;
    assert_eq!(stats["result"], json!({"num_clients": 1, "num_users": 1}));
    assert_eq!(call("info", json!({})).await["result"]["nodes"][0]["num_clients"], 1);
    call("subscribe", json!({"user": "per_1", "channel": "site:a.2"})).await;
    assert!(raw.next().await.json()["push"]["subscribe"].is_object());
    call("unsubscribe", json!({"user": "per_1", "channel": "site:a.2"})).await;
    assert_eq!(raw.next().await.json()["push"]["unsubscribe"]["code"], 2000);
    assert_eq!(call("disconnect", json!({})).await["error"]["code"], 107);
    assert!(
        call("publish", json!({"channel": "site:a.1"})).await["error"]["message"]
            .as_str()
            .unwrap()
            .contains("data")
    );
    let options = json!({"user": "per_1", "channel": "site:a.1", "client": "", "expire_at": 0,
        "data": {"why": "moved"}, "b64info": "eyJuIjoxfQ=="});
    call("unsubscribe", json!({"user": "per_1"})).await;
    let ended = [raw.next().await.json()["push"].clone(), raw.next().await.json()["push"].clone()];
    assert!(ended.iter().all(|push| push["unsubscribe"]["code"] == 2000), "{ended:?}");
    let channels = ended.map(|push| push["channel"].as_str().unwrap().to_owned());
    assert!(["#per_1", "site:a.1"].iter().all(|it| channels.contains(&(*it).to_owned())), "{channels:?}");
    call("publish", json!({"channel": "site:a.1", "b64data": "eyJuIjozfQ=="})).await;
    let mut since = options.clone();
    since["recover_since"] = json!({"offset": 1, "epoch": published["result"]["epoch"]});
    call("subscribe", since).await;
    let push = raw.next().await.json();
    assert_eq!(push["push"]["subscribe"]["data"], json!({"why": "moved"}), "{push}");
    assert_eq!(push["push"]["subscribe"]["offset"], 1, "from where the publications follow");
    for (offset, n) in [(2, 2), (3, 3)] {
        let missed = raw.next().await.json()["push"]["pub"].clone();
        assert_eq!((&missed["offset"], &missed["data"]), (&json!(offset), &json!({"n": n})));
    }
    let present = call("presence", json!({"channel": "site:a.1"})).await["result"]["presence"].clone();
    let info = present.as_object().unwrap().values().next().unwrap();
    assert_eq!(info["chan_info"], json!({"n": 1}), "{present}");
    let node = call("info", json!({})).await["result"]["nodes"][0].clone();
    assert_eq!((&node["num_channels"], &node["num_subs"]), (&json!(1), &json!(1)), "{node}");
    call("disconnect", json!({"user": "per_1"})).await;
    assert_eq!(raw.end().await, Seen::Close(3503, "force disconnect".into()));
}

/// What is not even a request is the caller's fault in HTTP; what is one and cannot be done is an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn centrifugos_errors() {
    let gateway = gateway::start(&format!("insecure = true\n[server_api]\nkey = \"{KEY}\"\n")).await;
    let ask = async |headers: &str, method: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        http(gateway.private, &request).await
    };
    let with_key = format!("X-API-Key: {KEY}\r\n");
    for (headers, wanted) in [
        ("", 401),
        ("X-API-Key: nearly\r\n", 401),
        (&*with_key, 200),
        (&format!("Authorization: apikey {KEY}\r\n"), 200),
        (&format!("Authorization: Bearer {KEY}\r\n"), 401),
    ] {
        assert_eq!(ask(headers, "info", "{}").await.0, wanted, "{headers}");
    }
    assert_eq!(
        get(gateway.private, &format!("/api/info?api_key={KEY}")).await.0,
        405,
        "never in the address"
    );
    for (method, body, status, code) in [
        ("publish", r#"{nonsense"#, 400, 0),
        ("publish", r#"{"channel": 5, "data": 1}"#, 400, 0),
        ("publish", r#"{"channel": "site:a.1"}"#, 200, 107),
        ("publish", r#"{"data": 1}"#, 200, 107),
        ("publish", r#"{"channel": "site:a.1", "b64data": "?"}"#, 200, 107),
        ("publish", r#"{"channel": "nowhere:1", "data": 1}"#, 200, 102),
        ("broadcast", r#"{"channels": [], "data": 1}"#, 200, 107),
        ("presence", r#"{"channel": "alerts:a.1"}"#, 200, 108),
        ("presence", r#"{}"#, 200, 107),
        ("presence_stats", r#"{"channel": "nowhere:1"}"#, 200, 102),
        ("history", r#"{"channel": "device:a.1"}"#, 200, 108),
        ("history", r#"{"channel": "site:a.1", "since": {"offset": 1, "epoch": "old"}}"#, 200, 112),
        ("subscribe", r#"{"user": "u"}"#, 200, 107),
        ("subscribe", r#"{"channel": "site:a.1"}"#, 200, 107),
        ("disconnect", r#"{"user": "u", "disconnect": {"code": 77}}"#, 200, 107),
    ] {
        let (given, text) = ask(&with_key, method, body).await;
        assert_eq!(given, status, "{method} {body}: {text}");
        if code > 0 {
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(answer["error"]["code"], code, "{method} {body}: {text}");
            let by_status = format!("{with_key}X-Centrifugo-Error-Mode: transport\r\n");
            let (status, text) = ask(&by_status, method, body).await;
            let wanted = match code {
                102 => 404,
                112 => 416,
                _ => 400,
            };
            assert_eq!(status, wanted, "{method} {body}: {text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["code"], code, "the error itself");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics() {
    let gateway = gateway::start("insecure = true\n").await;
    let _raw = Raw::connected(gateway.public).await;
    for port in [gateway.private, gateway.public] {
        assert_eq!(get(port, "/health/live").await, (200, "live\n".into()));
        assert_eq!(get(port, "/health/ready").await, (200, "ready\n".into()));
    }
    for path in ["/metrics", "/api/info"] {
        assert_eq!(get(gateway.public, path).await.0, 404, "{path} is not for the public");
    }
    assert_eq!(post(gateway.private, "", "info", &json!({})).await.0, 404, "no key, no server API");
    let (status, text) = get(gateway.private, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "keyway_gateway_connections 1",
        "keyway_gateway_connects_total 1",
        "keyway_gateway_closes_total{code=\"3008\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    gateway.stop.notify_one();
    let begun = std::time::Instant::now();
    while get(gateway.private, "/health/ready").await != (503, "draining\n".into()) {
        assert!(
            begun.elapsed().as_secs() < 10,
            "not draining: {:?}",
            get(gateway.private, "/health/ready").await
        );
    }
    assert_eq!(get(gateway.private, "/health/live").await.0, 200);
    assert_eq!(get(gateway.public, "/health/ready").await, (503, "draining\n".into()));
    assert_eq!(get(gateway.public, "/health/live").await.0, 200);
}

/// The line is found by autoscaling through namespace, dimension and name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_that_autoscaling_reads() {
    let gateway = gateway::start("insecure = true\n").await;
    let _raw = Raw::connected(gateway.public).await;
    let config = EmfConfig { namespace: "keyway-staging".into(), service: "gateway".into() };
    let line = gateway.node.metrics.emf(&gateway.node.readings(), &config);
    assert!(!line.contains('\n'), "one line is one event");
    let event: Value = serde_json::from_str(&line).unwrap();
    let directive = &event["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "keyway-staging");
    assert_eq!(directive["Dimensions"], json!([["Service"]]));
    assert_eq!(directive["Metrics"][0], json!({"Name": "OpenSockets", "Unit": "Count"}));
    assert_eq!((&event["Service"], &event["OpenSockets"]), (&json!("gateway"), &json!(1)));
    let age_ms = event["_aws"]["Timestamp"].as_u64().unwrap().abs_diff(crate::tokens::unix_s() * 1000);
    assert!(age_ms < 60_000, "milliseconds since 1970, now: {event}");
}
