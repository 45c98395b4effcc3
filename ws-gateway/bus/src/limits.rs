//! Every bound of the bus, each with its reason, and the one mapping from keys to partitions.

/// Fixed for ever: the partition is part of every key's hash tag (`{p17}`), so changing it would lose the data.
/// 64 spreads over any cluster we expect (up to 64 shards) and gives that many ordered request streams.
pub const PARTITIONS: u16 = 64;

/// The client protocol's own bound for channel names.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// Frames from clients are at most 64 KiB; backends may publish snapshots, but one message above 1 MiB would
/// fill a connection's whole outbox.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// What one history read returns at most: a client that missed more than this rereads its state instead.
pub const HISTORY_READ_MAX: usize = 1000;

/// After this many deliveries a request goes to the dead letters: a poison message must not stop its partition.
pub const DELIVERIES_MAX: u32 = 5;

/// Positions outlive the publications by this much, so that a client away over a holiday is told
/// `recovered: false` by a comparison and not by luck.
pub const POSITION_TTL_MS: u64 = 30 * 24 * 3600 * 1000;

/// Requests waiting or in work per partition. 64 partitions x 10,000 x 1 KiB is about 640 MB at the very worst;
/// beyond it callers are told `Unavailable` and repeat later.
pub const PARTITION_REQUESTS_MAX: usize = 10_000;

/// Dead letters kept per partition; the oldest go first, with a warning. They are for people to look at.
pub const DEAD_LETTERS_MAX: usize = 1_000;

/// Requests of one node waiting for a reply. Four seconds at 16,000 requests a second.
pub const PENDING_REPLIES_MAX: usize = 65_536;

/// Controls kept for nodes that were away or start later, and for how long after the last of them: a day, the longest life
/// that core may give a token which one of them revokes, and an hour for clocks and retries. About 10 MB; a flood of others
/// must not push a revocation out.
pub const CONTROLS_KEPT: u32 = 16_384;
pub const CONTROLS_TTL_MS: u64 = 25 * 3_600_000;

/// The reserved channel that carries controls. No client channel can start with a space: the gateway refuses it.
pub const CONTROL_CHANNEL: &str = " control";

/// The partition of a channel or of a request's partition key: FNV-1a, stable over processes and versions.
pub fn partition_of(key: &str) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.as_bytes() {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of FNV-1a mix poorly for short keys that differ in the last byte only: fold the high half in.
    ((hash ^ (hash >> 32)) % u64::from(PARTITIONS)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_stable_and_spread() {
        // Golden values: a change here orphans every stored key.
        assert_eq!(partition_of(""), 1);
        assert_eq!(partition_of("site:acme.site_1"), 55);
        let mut counts = [0u32; PARTITIONS as usize];
        for number in 0..6_400 {
            counts[usize::from(partition_of(&format!("device:acme.dev_{number}")))] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 50 && *most < 170, "uneven: {least}..{most}");
    }
}
