//! Every bound of the gateway, each with its reason, and the token bucket that rates are counted with. Pure:
//! time comes in as a value. What happens at a bound is decided where it is reached.

use serde::Deserialize;

/// Both clocks at one instant. Deadlines use the monotonic one, tokens the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Since some fixed instant of this process.
    pub mono_ms: u64,
    /// Since 1970.
    pub unix_ms: u64,
}

impl Now {
    pub fn unix_s(&self) -> u64 {
        self.unix_ms / 1000
    }
}

/// Bounds that an operator may change. The defaults are the documented ones.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// SDK frames are a few KiB; a reconnect with 128 subscriptions and their tokens stays under 64 KiB. 1009.
    pub frame_bytes_max: usize,
    /// A phone sees tens of channels, an operator's site is one. 106, or 3505 for those that come with a token.
    pub channels_max: usize,
    /// A socket that says nothing costs a slot: 3502.
    pub connect_within_ms: u64,
    /// Under half of the 60 s idle timeout that load balancers ship with.
    pub ping_interval_ms: u64,
    /// A phone on a bad link answers within seconds or is gone: 3012.
    pub pong_within_ms: u64,
    /// About 5,000 events of 200 bytes: who is further behind recovers from history. 3008.
    pub queue_bytes_max: usize,
    /// A client that missed more rereads its state: `recovered` is false.
    pub recovery_publications_max: usize,
    /// Bytes that recoveries may put into a queue beyond `queue_bytes_max`, until the next pong shows that they were
    /// read: otherwise who was closed for a full queue could never have back what was in it. Above it `recovered`
    /// is false.
    pub recovery_bytes_max: usize,
    /// Publications in one history reply; 300 of 200 bytes fit one frame of 64 KiB.
    pub history_publications_max: usize,
    /// Calls in flight on one connection, above it 111. A device reports in batches, a phone has one hand.
    pub calls_in_flight_max: usize,
    /// SDKs give up after 5 s; the answer (100, temporary) must be there before.
    pub call_deadline_ms: u64,
    /// Time for a refresh that is under way when the token ends. 3005 after it.
    pub expiry_grace_ms: u64,
    /// Commands a second of one connection; 0 means no bound. 3013.
    pub commands_per_s: u32,
    /// One reconnect sends connect and 128 subscriptions at once, twice when the link is bad.
    pub commands_burst: u32,
    /// Commands a second of all connections of one user; 0 means no bound. 111.
    pub user_commands_per_s: u32,
    pub user_commands_burst: u32,
    /// Commands waiting behind an unfinished one on the same channel (or behind connect). 3013.
    pub waiting_commands_max: usize,
    /// Sockets of this node; the file-descriptor bound less what Redis and HTTP need. 503 before the upgrade.
    pub connections_max: usize,
    /// A person has a handful of devices; a leaked token must not fill a node. 3504. 0 means no bound.
    pub user_connections_max: usize,
    /// Upgrades a second: signature checks cost about 50 us, so this is a tenth of a core. 503 + Retry-After.
    pub accepts_per_s: u32,
    pub accepts_burst: u32,
    /// Spreads connections over new nodes after a scale-out: 3011, with jitter. 0 means for ever.
    pub connection_age_ms_max: u64,
    /// How long a presence entry lives without its connection: more than two pings.
    pub presence_ttl_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_bytes_max: 64 * 1024,
            channels_max: 128,
            connect_within_ms: 15_000,
            ping_interval_ms: 25_000,
            pong_within_ms: 10_000,
            queue_bytes_max: 1024 * 1024,
            recovery_publications_max: 300,
            recovery_bytes_max: 4 * 1024 * 1024,
            history_publications_max: 300,
            calls_in_flight_max: 16,
            call_deadline_ms: 4_000,
            expiry_grace_ms: 25_000,
            commands_per_s: 100,
            commands_burst: 400,
            user_commands_per_s: 500,
            user_commands_burst: 2_000,
            waiting_commands_max: 512,
            connections_max: 100_000,
            user_connections_max: 100,
            accepts_per_s: 2_000,
            accepts_burst: 4_000,
            connection_age_ms_max: 0,
            presence_ttl_ms: 60_000,
        }
    }
}

impl Limits {
    /// Faults as sentences that name the field. All of them at once.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut at_least = |field: &str, value: u64, least: u64, why: &str| {
            if value < least {
                faults.push(format!("limits.{field} = {value}: must be at least {least}, {why}"));
            }
        };
        at_least(
            "frame_bytes_max",
            self.frame_bytes_max as u64,
            1024,
            "a connect frame with a token needs that",
        );
        at_least("channels_max", self.channels_max as u64, 1, "a client without channels hears nothing");
        at_least("connect_within_ms", self.connect_within_ms, 100, "a handshake takes that long");
        at_least("ping_interval_ms", self.ping_interval_ms, 1000, "the protocol counts pings in seconds");
        at_least("pong_within_ms", self.pong_within_ms, 100, "a round trip takes that long");
        at_least("queue_bytes_max", self.queue_bytes_max as u64, 16 * 1024, "one batch needs that");
        at_least(
            "recovery_bytes_max",
            self.recovery_bytes_max as u64,
            64 * 1024,
            "the largest publication must be recoverable",
        );
        at_least(
            "calls_in_flight_max",
            self.calls_in_flight_max as u64,
            1,
            "otherwise nothing can be called",
        );
        at_least("call_deadline_ms", self.call_deadline_ms, 100, "Redis and core need that");
        at_least("waiting_commands_max", self.waiting_commands_max as u64, 1, "a batch has several commands");
        at_least("connections_max", self.connections_max as u64, 1, "otherwise nobody can connect");
        at_least(
            "presence_ttl_ms",
            self.presence_ttl_ms,
            self.ping_interval_ms,
            "it is refreshed at every ping",
        );
        for (field, rate, burst) in [
            ("commands", self.commands_per_s, self.commands_burst),
            ("user_commands", self.user_commands_per_s, self.user_commands_burst),
            ("accepts", self.accepts_per_s, self.accepts_burst),
        ] {
            if rate > 0 && burst == 0 {
                faults
                    .push(format!("limits.{field}_burst = 0: must be at least 1 where {field}_per_s is set"));
            }
        }
        faults
    }
}

/// A token bucket in thousandths of a token. Never sleeps; says yes or no.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    per_s: u32,
    burst: u32,
    tokens_milli: u64,
    at_ms: u64,
}

impl Bucket {
    /// `per_s` = 0 never refuses.
    pub fn new(per_s: u32, burst: u32, now: Now) -> Bucket {
        Bucket { per_s, burst, tokens_milli: u64::from(burst) * 1000, at_ms: now.mono_ms }
    }

    pub fn take(&mut self, now: Now) -> bool {
        if self.per_s == 0 {
            return true;
        }
        let elapsed_ms = now.mono_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now.mono_ms);
        let refill = elapsed_ms.saturating_mul(u64::from(self.per_s));
        self.tokens_milli = self.tokens_milli.saturating_add(refill).min(u64::from(self.burst) * 1000);
        if self.tokens_milli >= 1000 {
            self.tokens_milli -= 1000;
            true
        } else {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    #[test]
    fn a_bucket_allows_its_burst_then_its_rate() {
        let mut bucket = Bucket::new(10, 3, at(0));
        let taken: Vec<bool> =
            [0, 0, 0, 0, 99, 100, 100, 1000].iter().map(|ms| bucket.take(at(*ms))).collect();
        assert_eq!(taken, [true, true, true, false, false, true, false, true]);
        assert!((0..3).all(|_| bucket.take(at(100_000))), "full again");
        assert!(!bucket.take(at(50_000)), "a clock that goes back gives nothing");
    }

    #[test]
    fn zero_is_no_bound() {
        let mut bucket = Bucket::new(0, 0, at(0));
        assert!((0..1000).all(|_| bucket.take(at(0))));
    }

    #[test]
    fn default_limits_are_sound_and_faults_are_all_named() {
        assert_eq!(Limits::default().faults(), Vec::<String>::new());
        let broken =
            Limits { channels_max: 0, calls_in_flight_max: 0, accepts_burst: 0, ..Limits::default() };
        assert_eq!(broken.faults().len(), 3, "{:?}", broken.faults());
    }
}
