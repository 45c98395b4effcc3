//! Publications, recovery, joins, server-side subscriptions, drains: what clients are promised.

use bytes::Bytes;
use keyway_bus::{Backend, Channels, NewPublication, PublishOptions, Target};
use keyway_protocol::{Command, Request, RpcRequest, SubscribeRequest, protobuf};
use prost::Message;
use serde_json::json;
use ws_gateway::frame::ClientFrame;

use crate::gateway::{self, DEVELOPMENT};
use crate::raw::{Raw, Seen, try_open};
use crate::tokens::{CORE, unix_s, with_keys};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_and_protobuf_hear_the_same() {
    let gateway = gateway::start(DEVELOPMENT).await;
    let mut text = Raw::connected(gateway.public).await;
    text.ask(r#"{"id":2,"subscribe":{"channel":"site:a.1"}}"#).await;
    let mut binary =
        try_open(gateway.public, "/connection/websocket?format=protobuf", "").await.ok().unwrap();
    let commands = [
        Request::Connect(Box::default()),
        Request::Subscribe(Box::new(SubscribeRequest { channel: "site:a.1".into(), ..Default::default() })),
        Request::Rpc(RpcRequest { method: "echo".into(), data: Bytes::from_static(b"\xff\x00") }),
    ];
    let frame: Vec<u8> = (1..)
        .zip(commands)
        .flat_map(|(id, request)| protobuf::encode_command(Command { id, request }).to_vec())
        .collect();
    binary.send_frame(ClientFrame::Binary, &frame).await;
    let mut replies = Vec::new();
    while replies.len() < 3 {
        let Seen::Binary(frame) = binary.next().await else { panic!("binary expected") };
        replies.extend(
            protobuf::messages(&frame).unwrap().into_iter().map(|m| protobuf::WireReply::decode(m).unwrap()),
        );
    }
    assert!(replies[0].connect.is_some() && replies[1].subscribe.is_some(), "{replies:?}");
    assert_eq!(replies[2].rpc.as_ref().unwrap().data, Bytes::from_static(b"\xff\x00"));

    let backend = gateway.broker.backend();
    let options = PublishOptions::with_history(10, 60_000);
    backend.publish("site:a.1", NewPublication::of("{\"door\":\n7}"), &options).await.unwrap();
    let heard = text.next().await.json();
    assert_eq!(heard["push"]["pub"]["data"], json!({"door": 7}));
    let Seen::Binary(frame) = binary.next().await else { panic!("binary expected") };
    let push = protobuf::WireReply::decode(protobuf::messages(&frame).unwrap()[0]).unwrap().push.unwrap();
    let publication = push.publication.unwrap();
    assert_eq!((publication.data, publication.offset), (Bytes::from_static(b"{\"door\":\n7}"), 1));

    // What is no JSON cannot be shown to a JSON client: it is told so, the binary one gets it.
    backend.publish("site:a.1", NewPublication::of(&b"\xff"[..]), &options).await.unwrap();
    assert_eq!(text.end().await, Seen::Close(3506, "inappropriate protocol".into()));
    assert!(matches!(binary.next().await, Seen::Binary(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_round_trip_brings_the_server_side_channels_with_what_was_missed() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let token =
        CORE.token(unix_s(), json!({"sub": "dev_1", "channels": ["device:acme.dev_1", "lockdown:acme.s1"]}));
    let backend = gateway.broker.backend();
    let mut early = Raw::open(gateway.public).await;
    early.send(&json!({"id": 1, "connect": {"token": token}}).to_string()).await;
    let sub = early.next().await.json()["connect"]["subs"]["lockdown:acme.s1"].clone();
    assert_eq!(
        (&sub["was_recovering"], &sub["recovered"]),
        (&serde_json::Value::Null, &serde_json::Value::Null),
        "nobody has missed anything where nothing was said: {sub}"
    );
    for n in 1..=2 {
        let publication = NewPublication::of(format!("{{\"rank\":{n}}}"));
        backend
            .publish("lockdown:acme.s1", publication, &PublishOptions::with_history(1, 60_000))
            .await
            .unwrap();
    }
    let mut device = Raw::open(gateway.public).await;
    device.send(&json!({"id": 1, "connect": {"token": token}}).to_string()).await;
    let subs = device.next().await.json()["connect"]["subs"].clone();
    let names: Vec<&String> = subs.as_object().unwrap().keys().collect();
    assert_eq!(names, ["#acme.dev_1", "device:acme.dev_1", "lockdown:acme.s1"]);
    assert_eq!(
        subs["lockdown:acme.s1"]["publications"],
        json!([{"data": {"rank": 2}, "offset": 2}]),
        "the latest state"
    );
    assert_eq!(subs["device:acme.dev_1"], json!({}), "commands have no history");

    let options = PublishOptions::with_history(100, 60_000);
    backend.publish("#acme.dev_1", NewPublication::of("{\"n\":1}"), &options).await.unwrap();
    let heard = device.next().await.json();
    assert_eq!(heard["push"]["channel"], "#acme.dev_1");
    let epoch = heard["push"]["pub"]["epoch"].clone();
    drop(device);
    backend.publish("#acme.dev_1", NewPublication::of("{\"n\":2}"), &options).await.unwrap();
    let mut device = Raw::open(gateway.public).await;
    let position = json!({"#acme.dev_1": {"recover": true, "epoch": epoch, "offset": 1}});
    device.send(&json!({"id": 1, "connect": {"token": token, "subs": position}}).to_string()).await;
    let sub = device.next().await.json()["connect"]["subs"]["#acme.dev_1"].clone();
    assert_eq!(
        (&sub["recovered"], &sub["publications"]),
        (&json!(true), &json!([{"data": {"n": 2}, "offset": 2}]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_history_and_live() {
    // These clients answer no pings, and a busy machine takes its time.
    let patient = "[limits]\nping_interval_ms = 300000\npresence_ttl_ms = 300000\n";
    let gateway = gateway::start(&format!("{DEVELOPMENT}{patient}")).await;
    let backend = gateway.broker.backend();
    let publisher = tokio::spawn(async move {
        for n in 0..3000u32 {
            let publication = NewPublication::of(n.to_string());
            backend
                .publish("site:a.busy", publication, &PublishOptions::with_history(300, 60_000))
                .await
                .unwrap();
            if n % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connected(gateway.public).await;
        let from = raw.ask(r#"{"id":2,"subscribe":{"channel":"site:a.busy"}}"#).await["subscribe"].clone();
        clients.push((raw, from["offset"].as_u64().unwrap_or(0)));
    }
    for (raw, offset) in &mut clients {
        while *offset < 3000 {
            let push = raw.next().await.json();
            assert_eq!(push["push"]["pub"]["offset"], *offset + 1, "{push}");
            *offset += 1;
        }
    }
    publisher.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_connection_keep_their_order_and_delay_nothing() {
    let gateway =
        gateway::start(&format!("{DEVELOPMENT}anonymous_user = \"per_1\"\n[limits]\ncommands_per_s = 0\n"))
            .await;
    let mut raw = Raw::connected(gateway.public).await;
    let batch: Vec<String> =
        (10..20).map(|id| format!(r#"{{"id":{id},"rpc":{{"method":"count"}}}}"#)).collect();
    raw.send(&batch.join("\n")).await;
    // Answers may overtake each other; the work may not.
    for _ in 10..20 {
        let reply = raw.next().await.json();
        assert_eq!(reply["rpc"]["data"].as_u64().unwrap(), reply["id"].as_u64().unwrap() - 10, "{reply}");
    }
    assert_eq!(
        raw.ask(r#"{"id":30,"rpc":{"method":"fail"}}"#).await["error"],
        json!({"code": 1000, "message": "as asked"})
    );
    assert_eq!(raw.ask(r#"{"id":31,"rpc":{"method":"whoami"}}"#).await["rpc"]["data"]["user"], "per_1");
    raw.send(r#"{"send":{"data":{"telemetry":1}}}"#).await;
    assert_eq!(raw.ask(r#"{"id":32,"rpc":{"method":"echo","data":1}}"#).await["rpc"]["data"], 1);
    assert_eq!(raw.ask(r#"{"id":33,"rpc":{"method":"nothing"}}"#).await["error"]["code"], 104);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_steer_connections() {
    let gateway = gateway::start(&format!("{DEVELOPMENT}anonymous_user = \"per_1\"\n")).await;
    let backend = gateway.broker.backend();
    let mut raw = Raw::connected(gateway.public).await;
    let target = || Target::user("per_1");
    let subscribe = keyway_bus::Control::Subscribe {
        target: target(),
        channel: "site:a.1".into(),
        options: Bytes::new(),
    };
    backend.control(subscribe).await.unwrap();
    let push = raw.next().await.json();
    assert_eq!(
        (&push["push"]["channel"], &push["push"]["subscribe"]["positioned"]),
        (&json!("site:a.1"), &json!(true))
    );
    let end = keyway_bus::Control::Unsubscribe {
        target: target(),
        channel: "site:a.1".into(),
        code: 0,
        reason: String::new(),
    };
    backend.control(end).await.unwrap();
    let push = raw.next().await.json();
    assert_eq!(push["push"]["unsubscribe"], json!({"code": 2000, "reason": "server unsubscribe"}));
    let refresh = keyway_bus::Control::Refresh {
        target: target(),
        expired: false,
        expire_at_s: Some(unix_s() + 60),
        info: None,
    };
    backend.control(refresh).await.unwrap();
    assert_eq!(raw.next().await.json()["push"]["refresh"]["expires"], true);
    backend.disconnect(target(), 4001, "moved").await.unwrap();
    assert_eq!(raw.end().await, Seen::Close(4001, "moved".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_joins_and_leaves() {
    let gateway = gateway::start(&format!(
        "{DEVELOPMENT}anonymous_user = \"u\"\n[namespaces.room]\npresence = true\njoin_leave = true\n"
    ))
    .await;
    let mut first = Raw::connected(gateway.public).await;
    first.ask(r#"{"id":2,"subscribe":{"channel":"room:a.1"}}"#).await;
    assert!(first.next().await.json()["push"]["join"].is_object(), "its own join");
    let mut second = Raw::connected(gateway.public).await;
    second.ask(r#"{"id":2,"subscribe":{"channel":"room:a.1"}}"#).await;
    let joined = first.next().await.json()["push"]["join"]["info"]["client"].clone();
    let clients =
        first.ask(r#"{"id":3,"presence":{"channel":"room:a.1"}}"#).await["presence"]["presence"].clone();
    assert!(clients.as_object().unwrap().len() == 2 && clients[joined.as_str().unwrap()].is_object());
    drop(second);
    let left = first.next().await.json();
    assert_eq!(left["push"]["leave"]["info"]["client"], joined);
    let stats = first.ask(r#"{"id":4,"presence_stats":{"channel":"room:a.1"}}"#).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 1, "num_users": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_in_slices_and_ends() {
    let mut gateway = gateway::start(&format!("{DEVELOPMENT}[drain]\nwindow_ms = 3000\n")).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Raw::connected(gateway.public).await);
    }
    gateway.stop.notify_one();
    let mut ends = Vec::new();
    for client in &mut clients {
        ends.push(client.end().await);
    }
    assert!(ends.iter().all(|end| *end == Seen::Close(3001, "shutdown".into())), "{ends:?}");
    assert!(gateway.node.is_draining() && !gateway.node.is_ready());
    drop(clients);
    (&mut gateway.task).await.unwrap();
}

/// An HTTP server that answers everything with `body`.
pub async fn answering(body: String) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let mut request = [0; 4096];
            // A client that goes away in between is its own business.
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrators_wish_drains_before_its_signal() {
    let metadata = answering(r#"{"DesiredStatus":"STOPPED","KnownStatus":"RUNNING"}"#.into()).await;
    let mut gateway = gateway::start(&format!(
        "{DEVELOPMENT}[drain]\nwindow_ms = 2000\necs_metadata_url = \"http://{metadata}/v4/abc\"\n"
    ))
    .await;
    // Either it was too late to get in, or the drain closes it.
    if let Ok(mut raw) = try_open(gateway.public, "/connection/websocket", "").await {
        assert_eq!(raw.end().await, Seen::Close(3001, "shutdown".into()));
    }
    (&mut gateway.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_read_from_core() {
    let core = answering(CORE.jwks()).await;
    let gateway =
        gateway::start(&format!("[tokens]\njwks_url = \"http://{core}/.well-known/jwks.json\"\n")).await;
    let command = json!({"id": 1, "connect": {"token": CORE.token(unix_s(), json!({}))}}).to_string();
    let mut raw = Raw::open(gateway.public).await;
    let mut replies = Vec::new();
    while replies.len() < 100 {
        raw.send(&command).await;
        let reply = raw.next().await.json();
        if reply["connect"].is_object() {
            return;
        }
        // Not known yet is temporary, never final.
        assert_eq!(reply["error"]["temporary"], true, "{reply}");
        replies.push(reply);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never accepted: {:?}", replies.last());
}
