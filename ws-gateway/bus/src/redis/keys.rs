//! The names of keys and pub/sub channels. Every name carries the hash tag of its partition, `{p17}`, so that a
//! cluster keeps together what one script touches and a stand-alone server's data can move to a cluster as is.

use crate::limits::{PARTITIONS, partition_of};

/// The one stream group: all backends together.
pub(crate) const GROUP: &str = "backends";

#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// `<prefix>:{p<n>}:` by partition.
    heads: Vec<String>,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Keys {
        Keys { heads: (0..PARTITIONS).map(|partition| format!("{prefix}:{{p{partition}}}:")).collect() }
    }

    fn name(&self, partition: u16, kind: &str, rest: &str) -> String {
        let head = &self.heads[usize::from(partition)];
        let mut name = String::with_capacity(head.len() + kind.len() + rest.len());
        name.push_str(head);
        name.push_str(kind);
        name.push_str(rest);
        name
    }

    /// Epoch (`e`) and offset (`o`) of a channel.
    pub(crate) fn numbering(&self, channel: &str) -> String {
        self.name(partition_of(channel), "m:", channel)
    }

    /// The channel's stored publications; entry ids are offsets.
    pub(crate) fn stream(&self, channel: &str) -> String {
        self.name(partition_of(channel), "s:", channel)
    }

    /// One idempotency key of a channel. The channel's length keeps `a` + `b:c` and `a:b` + `c` apart.
    pub(crate) fn once(&self, channel: &str, key: &str) -> String {
        self.name(partition_of(channel), "d:", &format!("{}:{channel}:{key}", channel.len()))
    }

    pub(crate) fn presence(&self, channel: &str) -> [String; 3] {
        let partition = partition_of(channel);
        ["ph:", "pz:", "pu:"].map(|kind| self.name(partition, kind, channel))
    }

    /// The pub/sub channel of a channel.
    pub(crate) fn live(&self, channel: &str) -> String {
        self.name(partition_of(channel), "c:", channel)
    }

    /// The pub/sub channel of a node on a link that serves `partition`: replies and canaries.
    pub(crate) fn node(&self, partition: u16, node: &str) -> String {
        self.name(partition, "n:", node)
    }

    pub(crate) fn requests(&self, partition: u16) -> String {
        self.name(partition, "req", "")
    }

    pub(crate) fn graves(&self, partition: u16) -> String {
        self.name(partition, "dead", "")
    }

    pub(crate) fn lease(&self, partition: u16) -> String {
        self.name(partition, "lease", "")
    }

    pub(crate) fn fence(&self, partition: u16) -> String {
        self.name(partition, "fence", "")
    }

    pub(crate) fn consumers(&self) -> String {
        self.name(0, "consumers", "")
    }

    /// Reads the name of a pub/sub channel back.
    pub(crate) fn parse_live<'a>(&self, name: &'a str) -> Option<Live<'a>> {
        let (_, rest) = name.split_once("{p")?;
        let (partition, rest) = rest.split_once("}:")?;
        let partition = partition.parse().ok().filter(|partition| *partition < PARTITIONS)?;
        match rest.split_at_checked(2)? {
            ("c:", channel) => Some(Live::Channel { partition, channel }),
            ("n:", _) => Some(Live::Node { partition }),
            _ => None,
        }
    }
}

/// What a pub/sub channel is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Live<'a> {
    Channel { partition: u16, channel: &'a str },
    Node { partition: u16 },
}

/// The cluster slot of a partition's hash tag: CRC16 (XMODEM) modulo 16384.
pub(crate) fn slot_of(partition: u16) -> u16 {
    let mut crc: u16 = 0;
    for byte in format!("p{partition}").bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
        }
    }
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_partition_and_read_back() {
        let keys = Keys::new("kw");
        let channel = "site:acme.{p3}:1";
        let partition = partition_of(channel);
        assert_eq!(keys.live(channel), format!("kw:{{p{partition}}}:c:{channel}"));
        assert_eq!(keys.parse_live(&keys.live(channel)), Some(Live::Channel { partition, channel }));
        assert_eq!(keys.parse_live(&keys.node(7, "n1")), Some(Live::Node { partition: 7 }));
        for foreign in ["", "kw:{p64}:c:x", "kw:{px}:c:x", "other", "kw:{p1}:z:x", "kw:{p1}:"] {
            assert_eq!(keys.parse_live(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn slots_are_redis_slots() {
        // From `CLUSTER KEYSLOT` of a Redis 7 server.
        assert_eq!(slot_of(0), 15882);
        assert_eq!(slot_of(17), 10264);
    }
}
