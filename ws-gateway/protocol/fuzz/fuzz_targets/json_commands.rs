//! Any text frame: never a panic, and what decodes means the same in Protobuf.
#![no_main]

use keyway_protocol::{Format, decode_frame, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Ok(commands) = decode_frame(Format::Json, frame) {
        let binary: Vec<u8> =
            commands.iter().cloned().flat_map(|command| protobuf::encode_command(command).to_vec()).collect();
        assert_eq!(decode_frame(Format::Protobuf, &binary).as_ref(), Ok(&commands));
    }
});
