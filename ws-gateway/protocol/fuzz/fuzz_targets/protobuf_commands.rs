//! Any binary frame: never a panic, and what decodes encodes to the same again.
#![no_main]

use keyway_protocol::{Format, decode_frame, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Ok(commands) = decode_frame(Format::Protobuf, frame) {
        let again: Vec<u8> =
            commands.iter().cloned().flat_map(|command| protobuf::encode_command(command).to_vec()).collect();
        assert_eq!(decode_frame(Format::Protobuf, &again).as_ref(), Ok(&commands));
    }
});
