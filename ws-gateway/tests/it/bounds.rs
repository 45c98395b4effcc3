//! Every bound of the design, reached: what happens there is numbered and nobody else notices.

use std::time::{Duration, Instant};

use keyway_bus::{Channels, NewPublication, PublishOptions};
use serde_json::json;
use ws_gateway::frame::ClientFrame;

use crate::gateway::{self, DEVELOPMENT};
use crate::raw::{Raw, Seen, try_open};
use crate::tokens::{CORE, unix_s, with_keys};

fn close(code: u16, reason: &str) -> Seen {
    Seen::Close(code, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_too_large_or_wrong() {
    let gateway = gateway::start(DEVELOPMENT).await;
    let large = format!(r#"{{"id":2,"rpc":{{"method":"echo","data":"{}"}}}}"#, "x".repeat(64 * 1024));
    let fits = format!(r#"{{"id":2,"rpc":{{"method":"echo","data":"{}"}}}}"#, "x".repeat(60 * 1024));
    let mut raw = Raw::connected(gateway.public).await;
    assert_eq!(raw.ask(&fits).await["rpc"]["data"].as_str().unwrap().len(), 60 * 1024);
    raw.send(&large).await;
    assert_eq!(raw.end().await, close(1009, "message size limit"));

    for (kind, payload, wanted) in [
        (ClientFrame::Text, &b"\xff"[..], close(1007, "invalid utf-8")),
        (ClientFrame::Binary, b"\x00", close(3501, "bad request")),
        (ClientFrame::Close, &[0x03, 0xe9], close(1001, "")),
        (ClientFrame::Text, b"{}{", close(3501, "bad request")),
    ] {
        let mut raw = Raw::connected(gateway.public).await;
        raw.send_frame(kind, payload).await;
        assert_eq!(raw.end().await, wanted, "{kind:?} {payload:?}");
    }
    let mut raw = Raw::connected(gateway.public).await;
    raw.send_frame(ClientFrame::Ping, b"hi").await;
    assert_eq!(raw.next().await, Seen::Line("PONG hi".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_has_an_end() {
    let limits = "[limits]\nconnect_within_ms = 150\nping_interval_ms = 1000\npong_within_ms = 150\n";
    let gateway = gateway::start(&format!("{DEVELOPMENT}{limits}")).await;
    let mut says_nothing = Raw::open(gateway.public).await;
    assert_eq!(says_nothing.end().await, close(3502, "stale"));
    let mut never_pongs = Raw::connected(gateway.public).await;
    assert_eq!(never_pongs.next().await, Seen::Line("{}".into()));
    assert_eq!(never_pongs.end().await, close(3012, "no pong"));
    let mut pongs = Raw::connected(gateway.public).await;
    for _ in 0..2 {
        assert_eq!(pongs.next().await, Seen::Line("{}".into()));
        pongs.send("{}").await;
    }
    assert!(pongs.ask(r#"{"id":2,"rpc":{"method":"echo","data":1}}"#).await["rpc"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_commands_and_calls() {
    let gateway = gateway::start(&format!(
        "{DEVELOPMENT}[limits]\nchannels_max = 3\ncall_deadline_ms = 300\ncalls_in_flight_max = 16\ncommands_per_s = 1\ncommands_burst = 60\n"
    ))
    .await;
    let mut raw = Raw::connected(gateway.public).await;
    for n in 0..3 {
        let reply =
            raw.ask(&json!({"id": n + 2, "subscribe": {"channel": format!("site:a.{n}")}}).to_string()).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
    }
    assert_eq!(raw.ask(r#"{"id":9,"subscribe":{"channel":"site:a.9"}}"#).await["error"]["code"], 106);
    let silent: Vec<String> =
        (10..27).map(|id| format!(r#"{{"id":{id},"rpc":{{"method":"silence"}}}}"#)).collect();
    raw.send(&silent.join("\n")).await;
    let first = raw.next().await.json();
    assert_eq!(
        (first["id"].as_u64(), first["error"]["code"].as_u64()),
        (Some(26), Some(111)),
        "the 17th at once"
    );
    for _ in 0..16 {
        let late = raw.next().await.json();
        assert_eq!(
            late["error"],
            json!({"code": 100, "message": "internal server error", "temporary": true})
        );
    }
    for id in 100..200 {
        raw.send(&format!(r#"{{"id":{id},"rpc":{{"method":"echo"}}}}"#)).await;
    }
    assert_eq!(raw.end().await, close(3013, "too many requests"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_on_the_node_and_for_a_user() {
    let directory = tempfile::tempdir().unwrap();
    let text = with_keys(&directory) + "[limits]\nconnections_max = 4\nuser_connections_max = 2\n";
    let gateway = gateway::start(&text).await;
    let token = CORE.token(unix_s(), json!({}));
    let _one = Raw::connected_with(gateway.public, &token).await;
    let _two = Raw::connected_with(gateway.public, &token).await;
    let mut three = Raw::open(gateway.public).await;
    three.send(&json!({"id": 1, "connect": {"token": token}}).to_string()).await;
    assert_eq!(three.end().await, close(3504, "connection limit"));
    let _fourth = Raw::open(gateway.public).await;
    let refused = loop {
        // The third one's place is given back a moment after its close.
        match try_open(gateway.public, "/connection/websocket", "").await {
            Ok(raw) => std::mem::forget(raw),
            Err(status) => break status,
        }
    };
    assert_eq!(refused, 503);
    for (path, headers, status) in [
        ("/connection/websocket?token=abc", "", 400),
        ("/connection/websocket", "Origin: https://evil.example\r\n", 403),
        ("/elsewhere", "", 404),
    ] {
        assert_eq!(try_open(gateway.public, path, headers).await.err(), Some(status), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_accepts_are_told_to_come_back() {
    let gateway =
        gateway::start(&format!("{DEVELOPMENT}[limits]\naccepts_per_s = 1\naccepts_burst = 2\n")).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(try_open(gateway.public, "/connection/websocket", "").await.err());
    }
    assert_eq!(&statuses[..2], [None, None]);
    assert!(statuses[2..].contains(&Some(503)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let text = with_keys(&directory) + "[limits]\nexpiry_grace_ms = 500\n";
    let gateway = gateway::start(&text).await;
    let short = || CORE.token(unix_s(), json!({"exp": unix_s() + 2}));
    let mut ends = Raw::connected_with(gateway.public, &short()).await;
    let mut refreshed = Raw::connected_with(gateway.public, &short()).await;
    let longer = CORE.token(unix_s(), json!({"exp": unix_s() + 3600}));
    let reply = refreshed.ask(&json!({"id": 2, "refresh": {"token": longer}}).to_string()).await;
    assert!(reply["refresh"]["ttl"].as_u64().unwrap() > 3000, "{reply}");
    assert_eq!(ends.end().await, close(3005, "connection expired"));
    assert!(refreshed.ask(r#"{"id":3,"rpc":{"method":"x"}}"#).await["error"].is_object(), "lives on");
}

/// A subscription made with a token ends with it, unless it is refreshed; the SDK fetches another one and is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_token_that_ends_ends_the_subscription() {
    let directory = tempfile::tempdir().unwrap();
    let text = with_keys(&directory) + "[limits]\nexpiry_grace_ms = 0\nping_interval_ms = 1000\n";
    let gateway = gateway::start(&text).await;
    let mut raw = Raw::connected_with(gateway.public, &CORE.token(unix_s(), json!({}))).await;
    let token = |channel: &str, for_s: u64| {
        CORE.token(unix_s(), json!({"channel": channel, "exp": unix_s() + for_s}))
    };
    for (id, channel) in [(2, "door:acme.1"), (3, "door:acme.2")] {
        let command = json!({"id": id, "subscribe": {"channel": channel, "token": token(channel, 3)}});
        let reply = raw.ask(&command.to_string()).await;
        assert!(reply["subscribe"]["ttl"].as_u64().unwrap() <= 3, "{reply}");
    }
    let refresh =
        json!({"id": 4, "sub_refresh": {"channel": "door:acme.2", "token": token("door:acme.2", 900)}});
    assert!(raw.ask(&refresh.to_string()).await["sub_refresh"]["ttl"].as_u64().unwrap() > 800);
    let push = loop {
        match raw.next().await.json() {
            ping if ping == json!({}) => raw.send("{}").await,
            push => break push,
        }
    };
    assert_eq!(
        push,
        json!({"push": {"channel": "door:acme.1", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}})
    );
    let again = json!({"id": 5, "subscribe": {"channel": "door:acme.2", "token": token("door:acme.2", 9)}});
    assert_eq!(raw.ask(&again.to_string()).await["error"]["code"], 105, "the refreshed one is still there");
}

/// Three hundred and one are too many: not a part of them, but the word that something is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_is_recovered_and_more_than_a_page() {
    let namespace = "[namespaces.big]\nhistory_size = 1000\nhistory_ttl_s = 600\n";
    let gateway = gateway::start(&format!("{DEVELOPMENT}{namespace}")).await;
    let backend = gateway.broker.backend();
    for n in 1..=301 {
        let options = PublishOptions::with_history(1000, 600_000);
        backend.publish("big:a.1", NewPublication::of(n.to_string()), &options).await.unwrap();
    }
    let mut raw = Raw::connected(gateway.public).await;
    let page = raw.ask(r#"{"id":2,"history":{"channel":"big:a.1","limit":-1}}"#).await["history"].clone();
    assert_eq!((page["publications"].as_array().unwrap().len(), &page["offset"]), (300, &json!(301)));
    for (id, offset, wanted) in [(3, 0, None), (4, 1, Some(300))] {
        let command = json!({"id": id, "subscribe": {"channel": "big:a.1", "recover": true, "epoch": page["epoch"], "offset": offset}});
        let reply = raw.ask(&command.to_string()).await["subscribe"].clone();
        assert_eq!(reply["recovered"].as_bool(), wanted.map(|_| true), "from {offset}");
        assert_eq!(reply["publications"].as_array().map(Vec::len), wanted, "from {offset}");
        raw.ask(&json!({"id": 9, "unsubscribe": {"channel": "big:a.1"}}).to_string()).await;
    }
}

/// One reader stops; it is closed with 3008, holds at most its bound, the others hear everything, and it gets
/// back what it missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_closed_and_recovers() {
    let gateway = gateway::start(&format!(
        "{DEVELOPMENT}send_buffer_bytes = 16384\n[limits]\nqueue_bytes_max = 65536\n[namespaces.big]\nhistory_size = 1000\nhistory_ttl_s = 600\n"
    ))
    .await;
    let (mut slow, mut fast) = (Raw::connected(gateway.public).await, Raw::connected(gateway.public).await);
    let subscribe = r#"{"id":2,"subscribe":{"channel":"big:a.1"}}"#;
    let position = slow.ask(subscribe).await["subscribe"].clone();
    fast.ask(subscribe).await;
    let backend = gateway.broker.backend();
    let data = format!("\"{}\"", "x".repeat(8000));
    let mut published = 0;
    let begun = Instant::now();
    while !gateway.node.metrics.prometheus(&gateway.node.readings()).contains("code=\"3008\"} 1") {
        assert!(begun.elapsed() < Duration::from_secs(30), "never closed after {published} publications");
        assert!(published < 290, "more than the kernel's buffers and ours");
        backend
            .publish(
                "big:a.1",
                NewPublication::of(data.clone()),
                &PublishOptions::with_history(1000, 600_000),
            )
            .await
            .unwrap();
        published += 1;
        let heard = fast.next().await.json();
        assert_eq!(heard["push"]["pub"]["offset"], published, "the others hear all, in order");
        assert!(
            gateway.node.metrics.queue_bytes.get() <= 65536 + 16384,
            "held: {}",
            gateway.node.metrics.queue_bytes.get()
        );
    }
    let mut offset = 0;
    let end = loop {
        match slow.next().await {
            Seen::Line(line) => {
                let push: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(push["push"]["pub"]["offset"], offset + 1, "no hole before the close");
                offset += 1;
            }
            end => break end,
        }
    };
    assert_eq!(end, close(3008, "slow"));
    let mut again = Raw::connected(gateway.public).await;
    let reply = again
        .ask(&json!({"id": 2, "subscribe": {"channel": "big:a.1", "recover": true, "epoch": position["epoch"], "offset": offset}}).to_string())
        .await;
    assert_eq!(reply["subscribe"]["recovered"], true);
    assert_eq!(reply["subscribe"]["publications"].as_array().unwrap().len() as u64, published - offset);
}

/// Old connections leave for other nodes, between half and all of their age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_moved() {
    let gateway = gateway::start(&format!("{DEVELOPMENT}[limits]\nconnection_age_ms_max = 400\n")).await;
    let begun = Instant::now();
    let mut raw = Raw::connected(gateway.public).await;
    assert_eq!(raw.end().await, close(3011, "force reconnect"));
    assert!(begun.elapsed() >= Duration::from_millis(200), "not before half of its age");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_too_many_channels() {
    let directory = tempfile::tempdir().unwrap();
    let text = with_keys(&directory) + "[limits]\nchannels_max = 3\n";
    let gateway = gateway::start(&text).await;
    let channels = |count: usize| (0..count).map(|n| format!("site:acme.{n}")).collect::<Vec<String>>();
    // The personal channel is one of them.
    for (count, wanted) in [(2, None), (3, Some(close(3505, "channel limit")))] {
        let token = CORE.token(unix_s(), json!({"channels": channels(count)}));
        let mut raw = Raw::open(gateway.public).await;
        raw.send(&json!({"id": 1, "connect": {"token": token}}).to_string()).await;
        match wanted {
            Some(wanted) => assert_eq!(raw.end().await, wanted),
            None => assert_eq!(raw.next().await.json()["connect"]["subs"].as_object().unwrap().len(), 3),
        }
    }
}

/// Nothing is made of a message that nobody asked for, and a reader of a numbering that is gone is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_switched_off_and_what_is_gone() {
    let gateway = gateway::start(&format!("{DEVELOPMENT}send = false\nrpc = false\n")).await;
    let mut raw = Raw::connected(gateway.public).await;
    for command in [
        json!({"id": 2, "subscribe": {"channel": "site:a.1", "recover": true, "epoch": "old", "offset": 3, "flag": 2}}),
        json!({"id": 3, "history": {"channel": "site:a.1", "limit": 9, "since": {"epoch": "old", "offset": 1}}}),
    ] {
        let reply = raw.ask(&command.to_string()).await;
        assert_eq!(reply["error"], json!({"code": 112, "message": "unrecoverable position"}), "{command}");
    }
    let reply = raw.ask(r#"{"id":4,"subscribe":{"channel":"site:a.1"}}"#).await;
    assert!(reply["subscribe"].is_object(), "a refused recovery leaves no subscription behind: {reply}");
    assert_eq!(raw.ask(r#"{"id":5,"rpc":{"method":"echo"}}"#).await["error"]["code"], 108);
    raw.send(r#"{"send":{"data":{}}}"#).await;
    assert_eq!(raw.end().await, close(3508, "not available"));
}

/// What the bus could not repair: a subscription of the client's own is ended so that the SDK subscribes again from
/// its position; with one of the server's the whole connection has to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway::start(&with_keys(&directory)).await;
    let caps = json!([{"channels": ["site:*"], "match": "wildcard", "allow": ["sub"]}]);
    let token = CORE.token(unix_s(), json!({"channels": ["alerts:acme.s1"], "caps": caps}));
    let mut raw = Raw::connected_with(gateway.public, &token).await;
    let own = raw.ask(r#"{"id":2,"subscribe":{"channel":"site:acme.s1"}}"#).await;
    assert!(own["subscribe"].is_object(), "{own}");
    let gap = |channel: &str| keyway_bus::BusEvent::Gap {
        channel: channel.into(),
        top: keyway_bus::Position::new(keyway_bus::Epoch::new("other"), 7),
    };
    assert_eq!(gateway.node.hub.accept(gap("site:acme.s1")), 1);
    let push = raw.next().await.json();
    assert_eq!(push["push"]["unsubscribe"]["code"], 2500, "{push}");
    assert_eq!(gateway.node.hub.accept(gap("alerts:acme.s1")), 1);
    assert_eq!(raw.end().await, close(3010, "insufficient state"));
}

/// Who was closed for a full queue gets back more than the queue holds, up to a bound of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_may_be_larger_than_the_queue() {
    for (bytes_max, wanted) in [(4 << 20, Some(true)), (64 << 10, None)] {
        let gateway = gateway::start(&format!(
            "{DEVELOPMENT}[limits]\nqueue_bytes_max = 16384\nrecovery_bytes_max = {bytes_max}\n"
        ))
        .await;
        let mut raw = Raw::connected(gateway.public).await;
        let reply = raw.ask(r#"{"id":2,"subscribe":{"channel":"site:a.1"}}"#).await["subscribe"].clone();
        drop(raw);
        let backend = gateway.broker.backend();
        let data = format!("\"{}\"", "x".repeat(4000));
        for _ in 0..50 {
            let options = PublishOptions::with_history(300, 600_000);
            backend.publish("site:a.1", NewPublication::of(data.clone()), &options).await.unwrap();
        }
        let command =
            json!({"id": 2, "subscribe": {"channel": "site:a.1", "recover": true, "epoch": reply["epoch"]}});
        let mut again = Raw::connected(gateway.public).await;
        let reply = again.ask(&command.to_string()).await["subscribe"].clone();
        assert_eq!(reply["recovered"].as_bool(), wanted, "with {bytes_max} bytes");
        let publications = reply["publications"].as_array().map_or(0, Vec::len);
        assert_eq!(publications, if wanted.is_some() { 50 } else { 0 }, "all or nothing");
        // And on it goes.
        backend
            .publish("site:a.1", NewPublication::of("1"), &PublishOptions::with_history(300, 600_000))
            .await
            .unwrap();
        assert_eq!(again.next().await.json()["push"]["pub"]["offset"], 51);
    }
}

/// The user's rate is shared by all of the user's connections, and what waits behind an unfinished connect is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_user_and_commands_that_wait() {
    let gateway = gateway::start(&format!(
        "{DEVELOPMENT}anonymous_user = \"per_1\"\n[limits]\nuser_commands_per_s = 1\nuser_commands_burst = 6\nwaiting_commands_max = 4\n"
    ))
    .await;
    let (mut one, mut two) = (Raw::connected(gateway.public).await, Raw::connected(gateway.public).await);
    let mut refused = 0;
    for id in 2..12 {
        for raw in [&mut one, &mut two] {
            let reply = raw.ask(&json!({"id": id, "rpc": {"method": "echo", "data": 1}}).to_string()).await;
            if reply["error"].is_object() {
                assert_eq!(
                    reply["error"],
                    json!({"code": 111, "message": "too many requests", "temporary": true})
                );
                refused += 1;
            }
        }
    }
    assert!((1..=14).contains(&refused), "20 commands, 6 at once and 1 a second more: {refused} refused");

    let mut hasty = Raw::open(gateway.public).await;
    let subscribe = |id: u32| json!({"id": id, "subscribe": {"channel": format!("site:a.{id}")}}).to_string();
    let many: Vec<String> = (2..8).map(subscribe).collect();
    hasty.send(&format!("{{\"id\":1,\"connect\":{{}}}}\n{}", many.join("\n"))).await;
    assert_eq!(hasty.end().await, close(3013, "too many requests"));
}
