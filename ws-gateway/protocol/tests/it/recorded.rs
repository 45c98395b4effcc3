//! Frames recorded from the reference library decode to the commands they mean, and our replies are, byte for
//! byte, the recorded ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use keyway_protocol::{
    ClientInfo, Command, ConnectResult, DecodeError, ErrorReply, Format, HistoryResult, PresenceResult,
    PresenceStatsResult, Publication, Push, Reply, Request, SubscribeResult, decode_frame, encode_push,
    encode_reply, protobuf,
};

const TRANSCRIPT: &str = include_str!("../../fixtures/transcript.txt");

/// Client frames with the line that answers them first.
fn client_frames() -> Vec<(String, String)> {
    let mut frames: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in TRANSCRIPT.lines() {
        if let Some(frame) = line.strip_prefix(">> ").or((line == ">>").then_some("")) {
            frames.push((frame.to_owned(), String::new()));
            open = true;
        } else if let Some(answer) = line.strip_prefix("<< ") {
            open = false;
            let last = frames.last_mut().expect("an answer follows a frame");
            if last.1.is_empty() {
                last.1 = answer.to_owned();
            }
        } else if open && !line.starts_with("## ") {
            let last = frames.last_mut().expect("a continuation follows a frame");
            last.0.push('\n');
            last.0.push_str(line);
        }
    }
    frames
}

#[test]
fn every_recorded_frame_decodes_unless_it_was_refused() {
    let frames = client_frames();
    assert!(frames.len() > 40, "the transcript was read: {}", frames.len());
    let mut refused = Vec::new();
    for (frame, answer) in &frames {
        match decode_frame(Format::Json, frame.as_bytes()) {
            Ok(commands) => assert_eq!(commands.len(), frame.lines().count(), "{frame}"),
            Err(error) => {
                assert_eq!(answer, "CLOSE 3501 bad request", "{frame} gave {error}");
                refused.push(error.to_string());
            }
        }
    }
    assert_eq!(
        refused,
        [
            "not JSON as the protocol has it: key must be a string at line 1 column 2",
            "`subscribe` needs an id above zero",
            "command 2 names no method this server knows",
            "the frame holds no command",
        ]
    );
}

#[test]
fn json_and_protobuf_say_the_same() {
    for (frame, _) in client_frames() {
        let Ok(commands) = decode_frame(Format::Json, frame.as_bytes()) else { continue };
        let binary: Vec<u8> =
            commands.iter().cloned().flat_map(|command| protobuf::encode_command(command).to_vec()).collect();
        assert_eq!(decode_frame(Format::Protobuf, &binary).as_ref(), Ok(&commands), "{frame}");
    }
}

#[test]
fn recorded_replies_byte_for_byte() {
    let check = |recorded: &str, encoded: Bytes| {
        let line = TRANSCRIPT.lines().find(|line| *line == format!("<< {recorded}"));
        assert!(line.is_some(), "not in the transcript: {recorded}");
        assert_eq!(std::str::from_utf8(&encoded).unwrap(), recorded);
    };
    let reply = |id, reply: Reply| encode_reply(Format::Json, id, &reply).unwrap();
    let client = "6a1aa2a6-bc09-4fd3-ae40-8a1b5f7756dd".to_owned();
    let epoch = "bjojNmas".to_owned();
    let info = ClientInfo { user: "u".into(), client: client.clone(), ..ClientInfo::default() };
    let publication = |n: u64, offset| Publication {
        data: Bytes::from(format!("{{\"n\":{n}}}")),
        offset,
        ..Publication::default()
    };
    let first = Publication { data: Bytes::from_static(b"{\"x\":1}"), offset: 1, ..Publication::default() };

    check(
        r#"{"id":1,"connect":{"client":"6a1aa2a6-bc09-4fd3-ae40-8a1b5f7756dd","ping":25,"pong":true}}"#,
        reply(
            1,
            Reply::Connect(Box::new(ConnectResult {
                client: client.clone(),
                ping: 25,
                pong: true,
                ..Default::default()
            })),
        ),
    );
    check(
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"bjojNmas","positioned":true}}"#,
        reply(
            2,
            Reply::Subscribe(Box::new(SubscribeResult {
                recoverable: true,
                positioned: true,
                epoch: epoch.clone(),
                ..Default::default()
            })),
        ),
    );
    check(
        r#"{"push":{"channel":"a","join":{"info":{"user":"u","client":"6a1aa2a6-bc09-4fd3-ae40-8a1b5f7756dd"}}}}"#,
        encode_push(Format::Json, "a", &Push::Join(&info)).unwrap(),
    );
    check(
        r#"{"push":{"channel":"a","pub":{"data":{"x":1},"offset":1,"epoch":"bjojNmas"}}}"#,
        encode_push(
            Format::Json,
            "a",
            &Push::Publication(&Publication { epoch: epoch.clone(), ..first.clone() }),
        )
        .unwrap(),
    );
    check(r#"{"id":3,"publish":{}}"#, reply(3, Reply::Publish));
    check(
        r#"{"id":4,"history":{"publications":[{"data":{"x":1},"offset":1}],"epoch":"bjojNmas","offset":1}}"#,
        reply(
            4,
            Reply::History(HistoryResult { publications: vec![first], epoch: epoch.clone(), offset: 1 }),
        ),
    );
    check(
        r#"{"id":5,"history":{"publications":[],"epoch":"bjojNmas","offset":1}}"#,
        reply(5, Reply::History(HistoryResult { publications: vec![], epoch, offset: 1 })),
    );
    check(
        r#"{"id":6,"presence":{"presence":{"6a1aa2a6-bc09-4fd3-ae40-8a1b5f7756dd":{"user":"u","client":"6a1aa2a6-bc09-4fd3-ae40-8a1b5f7756dd"}}}}"#,
        reply(6, Reply::Presence(PresenceResult { presence: BTreeMap::from([(client, info)]) })),
    );
    check(
        r#"{"id":7,"presence_stats":{"num_clients":1,"num_users":1}}"#,
        reply(7, Reply::PresenceStats(PresenceStatsResult { num_clients: 1, num_users: 1 })),
    );
    check(
        r#"{"id":8,"error":{"code":105,"message":"already subscribed"}}"#,
        reply(8, ErrorReply::already_subscribed().into()),
    );
    check(r#"{"id":10,"unsubscribe":{}}"#, reply(10, Reply::Unsubscribe));
    check(
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"AlXoWWHq","publications":[{"data":{"n":1},"offset":2},{"data":{"n":2},"offset":3}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}"#,
        reply(
            2,
            Reply::Subscribe(Box::new(SubscribeResult {
                recoverable: true,
                positioned: true,
                epoch: "AlXoWWHq".into(),
                publications: vec![publication(1, 2), publication(2, 3)],
                recovered: true,
                offset: 1,
                was_recovering: true,
                ..Default::default()
            })),
        ),
    );
}

#[test]
fn tolerant_of_what_sdks_really_send() {
    let cases: &[(&str, Request)] = &[
        (r#"{"id":1,"ping":{},"future":{"x":[1]}}"#, Request::Ping),
        (
            r#" {"id":1,"unsubscribe":{"channel":"a","zzz":null}} "#,
            Request::Unsubscribe { channel: "a".into() },
        ),
        (r#"{"id":1,"presence":{"channel":null}}"#, Request::Presence { channel: String::new() }),
        (r#"{"send":{"data":null}}"#, Request::Send { data: Bytes::from_static(b"null") }),
        (
            r#"{"send":{"data":{"a" : "b\n"}}}"#,
            Request::Send { data: Bytes::from_static(br#"{"a" : "b\n"}"#) },
        ),
        ("{}", Request::Pong),
    ];
    for (frame, request) in cases {
        let commands =
            decode_frame(Format::Json, frame.as_bytes()).unwrap_or_else(|e| panic!("{frame}: {e}"));
        assert_eq!(commands.iter().map(|c: &Command| &c.request).collect::<Vec<_>>(), [request], "{frame}");
    }
    for frame in
        ["[]", "1", "{\"id\":-1}", "{\"id\":4294967296,\"ping\":{}}", "{\"id\":1,\"ping\":{}", "\u{feff}{}"]
    {
        assert!(matches!(decode_frame(Format::Json, frame.as_bytes()), Err(DecodeError::Json(_))), "{frame}");
    }
}

#[test]
fn payloads_cannot_break_a_frame() {
    let push = |data: &'static [u8]| {
        let publication = Publication { data: Bytes::from_static(data), ..Publication::default() };
        encode_push(Format::Json, "c", &Push::Publication(&publication))
    };
    assert_eq!(
        push(b"{\n\"a\":\r\n1}").unwrap(),
        Bytes::from_static(b"{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":{ \"a\":  1}}}}")
    );
    for binary in [&b"\xff\xfe"[..], b"{}{}", b"{", b"\"\xff\"", b"1 2"] {
        assert!(push(binary).is_err(), "{binary:?}");
    }
}
