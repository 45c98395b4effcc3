//! Any name and pattern: never a panic; a name matches itself and everything.
#![no_main]

use keyway_protocol::channel::{ChannelName, wildcard_matches};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (name, pattern) = input;
    wildcard_matches(pattern, name);
    if let Ok(channel) = ChannelName::parse(name) {
        let (_, _) = (channel.namespace(), channel.tenant());
        assert!(wildcard_matches("*", name));
    }
});
