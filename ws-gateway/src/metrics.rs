//! What the node counts, and how it is written: Prometheus text for scrapers, one EMF line for CloudWatch.
//! Plain atomics; whoever counts pays one relaxed addition.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use keyway_bus::BusHealth;
use keyway_protocol::close::CLOSES;

use crate::config::EmfConfig;

#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the round-trip histogram, in microseconds: from a loopback Redis to one that is in trouble.
const ROUND_TRIP_BOUNDS_US: [u64; 8] = [100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000];

#[derive(Default)]
pub struct Histogram {
    buckets: [Counter; ROUND_TRIP_BOUNDS_US.len()],
    count: Counter,
    sum_us: Counter,
}

impl Histogram {
    pub fn observe_us(&self, us: u64) {
        for (bucket, bound) in self.buckets.iter().zip(ROUND_TRIP_BOUNDS_US) {
            if us <= bound {
                bucket.add(1);
            }
        }
        self.count.add(1);
        self.sum_us.add(us);
    }
}

/// Closes are counted by code; codes of applications (4000-4999) share one number, as do all strange ones.
const CLOSE_CODES: usize = 64;

#[derive(Default)]
pub struct Metrics {
    pub accepted: Counter,
    pub refused_full: Counter,
    pub refused_rate: Counter,
    pub refused_draining: Counter,
    pub refused_request: Counter,
    pub connects: Counter,
    pub frames_in: Counter,
    pub bytes_in: Counter,
    pub messages_out: Counter,
    pub bytes_out: Counter,
    pub writes_out: Counter,
    pub events_in: Counter,
    pub deliveries: Counter,
    pub requests: Counter,
    pub requests_failed: Counter,
    pub publications: Counter,
    pub recovered: Counter,
    pub unrecovered: Counter,
    pub queue_bytes: Gauge,
    pub bus_round_trip: Histogram,
    closes: CloseCounters,
}

struct CloseCounters([Counter; CLOSE_CODES]);

impl Default for CloseCounters {
    fn default() -> CloseCounters {
        CloseCounters(std::array::from_fn(|_| Counter::default()))
    }
}

/// Numbers that others keep.
pub struct Readings {
    pub connections: usize,
    pub users: usize,
    pub channels: usize,
    pub subscriptions: usize,
    pub bus: BusHealth,
    pub ready: bool,
    pub unix_ms: u64,
}

impl Metrics {
    pub fn closed(&self, code: u16) {
        let slot = CLOSES.iter().position(|close| close.code == code).unwrap_or(CLOSE_CODES - 1);
        self.closes.0[slot.min(CLOSE_CODES - 1)].add(1);
    }

    pub fn prometheus(&self, readings: &Readings) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, value: i128| {
            // Writing to a string does not fail.
            let _written = write!(
                out,
                "# HELP keyway_gateway_{name} {help}\n# TYPE keyway_gateway_{name} {kind}\nkeyway_gateway_{name} {value}\n"
            );
        };
        let c = |counter: &Counter| i128::from(counter.get());
        one("connections", "gauge", "Open sockets of this node.", readings.connections as i128);
        one("users", "gauge", "Distinct users connected to this node.", readings.users as i128);
        one("channels", "gauge", "Channels with a subscriber on this node.", readings.channels as i128);
        one("ready", "gauge", "1 when the node takes connections.", i128::from(readings.ready));
        one("queue_bytes", "gauge", "Bytes waiting in outboxes.", i128::from(self.queue_bytes.get()));
        one("accepted_total", "counter", "Upgrades answered with 101.", c(&self.accepted));
        one("connects_total", "counter", "Connect commands answered.", c(&self.connects));
        one("events_in_total", "counter", "Events received from the bus.", c(&self.events_in));
        one("deliveries_total", "counter", "Events handed to connections.", c(&self.deliveries));
        one("requests_total", "counter", "RPCs passed to backends.", c(&self.requests));
        one("requests_failed_total", "counter", "RPCs answered with error 100.", c(&self.requests_failed));
        one("publications_total", "counter", "Publications by clients.", c(&self.publications));
        one("writes_total", "counter", "Socket writes.", c(&self.writes_out));
        one("bus_healthy", "gauge", "1 when canaries come back.", i128::from(readings.bus.healthy));
        one(
            "bus_canaries_missing",
            "gauge",
            "Canaries not come back.",
            i128::from(readings.bus.canaries_missing),
        );
        one(
            "bus_reconnects_total",
            "counter",
            "Subscriber links rebuilt.",
            i128::from(readings.bus.reconnects),
        );
        one(
            "bus_overflowed_total",
            "counter",
            "Events the receive queue refused.",
            i128::from(readings.bus.overflowed),
        );
        one(
            "bus_gaps_repaired_total",
            "counter",
            "Gaps closed from the stream.",
            i128::from(readings.bus.gaps_repaired),
        );
        one(
            "bus_gaps_unrepaired_total",
            "counter",
            "Gaps handed to clients.",
            i128::from(readings.bus.gaps_unrepaired),
        );
        self.labelled(&mut out);
        out
    }

    fn labelled(&self, out: &mut String) {
        let mut family = |name: &str, help: &str, label: &str, values: &[(String, u64)]| {
            let _written =
                write!(out, "# HELP keyway_gateway_{name} {help}\n# TYPE keyway_gateway_{name} counter\n");
            for (value, count) in values {
                let _written = writeln!(out, "keyway_gateway_{name}{{{label}=\"{value}\"}} {count}");
            }
        };
        let pair = |name: &str, counter: &Counter| (name.to_owned(), counter.get());
        family(
            "messages_total",
            "Messages by direction.",
            "direction",
            &[pair("in", &self.frames_in), pair("out", &self.messages_out)],
        );
        family(
            "bytes_total",
            "Bytes by direction.",
            "direction",
            &[pair("in", &self.bytes_in), pair("out", &self.bytes_out)],
        );
        family(
            "recoveries_total",
            "Recoveries asked for, by result.",
            "result",
            &[pair("recovered", &self.recovered), pair("unrecovered", &self.unrecovered)],
        );
        family(
            "refused_total",
            "Upgrades refused, by reason.",
            "reason",
            &[
                pair("full", &self.refused_full),
                pair("rate", &self.refused_rate),
                pair("draining", &self.refused_draining),
                pair("bad_request", &self.refused_request),
            ],
        );
        let mut closes: Vec<(String, u64)> = CLOSES
            .iter()
            .zip(&self.closes.0)
            .map(|(close, counter)| (close.code.to_string(), counter.get()))
            .collect();
        closes.push(("other".to_owned(), self.closes.0[CLOSE_CODES - 1].get()));
        family("closes_total", "Connections closed by this server, by code.", "code", &closes);
        let name = "keyway_gateway_bus_round_trip_seconds";
        let _written =
            write!(out, "# HELP {name} Canary round trips through the bus.\n# TYPE {name} histogram\n");
        for (bucket, bound) in self.bus_round_trip.buckets.iter().zip(ROUND_TRIP_BOUNDS_US) {
            let _written = writeln!(out, "{name}_bucket{{le=\"{}\"}} {}", bound as f64 / 1e6, bucket.get());
        }
        let (count, sum_us) = (self.bus_round_trip.count.get(), self.bus_round_trip.sum_us.get());
        let _written = write!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {}\n{name}_count {count}\n",
            sum_us as f64 / 1e6
        );
    }

    /// CloudWatch embedded metric format: the number that autoscaling looks at, in one log line.
    pub fn emf(&self, readings: &Readings, config: &EmfConfig) -> String {
        serde_json::json!({
            "_aws": {
                "Timestamp": readings.unix_ms,
                "CloudWatchMetrics": [{
                    "Namespace": config.namespace,
                    "Dimensions": [["Service"]],
                    "Metrics": [
                        {"Name": "OpenSockets", "Unit": "Count"},
                        {"Name": "QueueBytes", "Unit": "Bytes"},
                    ],
                }],
            },
            "Service": config.service,
            "OpenSockets": readings.connections,
            "QueueBytes": self.queue_bytes.get(),
        })
        .to_string()
    }
}
