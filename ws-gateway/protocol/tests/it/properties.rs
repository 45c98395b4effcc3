//! Properties over arbitrary bytes: the same ones that the fuzz targets in `fuzz/` check for longer.

use keyway_protocol::channel::{ChannelName, wildcard_matches};
use keyway_protocol::{Close, Format, Reply, decode_frame, encode_reply, protobuf};
use proptest::prelude::*;

/// Text that looks like commands often enough to reach the inner decoders.
fn almost_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "\"id\":1",
        ",",
        ":",
        "\"connect\":{}",
        "\"subscribe\":{\"channel\":\"a\"}",
        "\n",
        "null",
        "\"",
        "\"rpc\":{\"method\":\"m\",\"data\":{}}",
        "[",
        "]",
        "\\u0000",
        "1e999",
        "\"subs\":{\"c\":{\"offset\":1}}",
        " ",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for format in [Format::Json, Format::Protobuf] {
            if let Ok(commands) = decode_frame(format, &bytes) {
                prop_assert!(!commands.is_empty());
            }
        }
    }

    #[test]
    fn almost_json_never_panics_and_survives_protobuf(text in almost_json()) {
        if let Ok(commands) = decode_frame(Format::Json, text.as_bytes()) {
            let binary: Vec<u8> = commands.iter().cloned().flat_map(|c| protobuf::encode_command(c).to_vec()).collect();
            prop_assert_eq!(decode_frame(Format::Protobuf, &binary).unwrap(), commands);
        }
    }

    #[test]
    fn a_reply_is_one_line_of_json_or_refused(id in 1u32.., data in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(encoded) = encode_reply(Format::Json, id, &Reply::Rpc { data: data.into() }) {
            prop_assert!(!encoded.contains(&b'\n'));
            let value: serde_json::Value = serde_json::from_slice(&encoded).unwrap();
            prop_assert_eq!(value["id"].as_u64(), Some(u64::from(id)));
        }
    }

    #[test]
    fn channel_names_never_panic(name in ".{0,300}", pattern in "[a-c*:.]{0,12}") {
        if let Ok(channel) = ChannelName::parse(&name) {
            let (_, _) = (channel.namespace(), channel.tenant());
            prop_assert!(wildcard_matches("*", channel.as_str()));
            let prefix = pattern.replace('*', "");
            let (open, extended) = (format!("{prefix}*"), format!("{prefix}{name}"));
            prop_assert!(wildcard_matches(&open, &extended));
        }
        wildcard_matches(&pattern, &name);
    }

    #[test]
    fn close_reasons_always_fit(code in 1000u16..5000, reason in ".{0,200}") {
        prop_assert!(Close::custom(code, &reason).reason.len() <= 123);
    }
}
