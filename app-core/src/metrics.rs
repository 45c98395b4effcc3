//! Counters of one process, as Prometheus reads them. Owns names and text; refuses to know who counts.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds in milliseconds; one more bucket takes the rest.
const BUCKETS_MS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 500, 1_000, 4_000];

#[derive(Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, elapsed: std::time::Duration) {
        let ms = elapsed.as_millis() as u64;
        let place = BUCKETS_MS.iter().position(|bound| ms < *bound).unwrap_or(BUCKETS_MS.len());
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(elapsed.as_micros() as u64, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, about: &str) {
        let _ = writeln!(out, "# HELP {name} {about}\n# TYPE {name} histogram");
        let mut count = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound =
                BUCKETS_MS.get(place).map_or("+Inf".to_owned(), |ms| format!("{}", *ms as f64 / 1000.0));
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {count}");
    }
}

macro_rules! metrics {
    ($($name:ident = $word:literal, $about:literal;)*) => {
        #[derive(Default)]
        pub struct Metrics {
            $(pub $name: AtomicU64,)*
            pub request_time: Histogram,
            pub unlock_time: Histogram,
            pub http_time: Histogram,
        }

        impl Metrics {
            fn counters(&self, out: &mut String) {
                $(
                    let _ = writeln!(out, concat!("# HELP ", $word, " ", $about, "\n# TYPE ", $word, " counter"));
                    let _ = writeln!(out, concat!($word, " {}"), self.$name.load(Ordering::Relaxed));
                )*
            }
        }
    };
}

metrics! {
    requests = "keyway_core_requests_total", "Requests of devices and phones.";
    requests_refused = "keyway_core_requests_refused_total", "Requests answered with an error that is the caller's.";
    requests_late = "keyway_core_requests_late_total", "Requests dropped because nobody waits for them any more.";
    requests_failed = "keyway_core_requests_failed_total", "Requests answered with a temporary error.";
    events = "keyway_core_events_total", "Events of devices committed.";
    unlocks = "keyway_core_unlocks_total", "Unlocks decided.";
    doors_busy = "keyway_core_doors_busy_total", "Unlocks refused because the door could not have remembered another command.";
    published = "keyway_core_published_total", "Publications sent from the outbox.";
    publish_failed = "keyway_core_publish_failed_total", "Publications that the bus did not take; they are sent again.";
    expired = "keyway_core_publications_expired_total", "Publications let go because they were too old to be worth sending.";
    conflicts = "keyway_core_conflicts_total", "Decisions made again because somebody else was faster.";
    http = "keyway_core_http_requests_total", "Requests of the HTTP API.";
    http_failed = "keyway_core_http_failed_total", "Requests of the HTTP API answered with 5xx.";
}

pub fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Metrics {
    /// `waiting` calls wait for the end of a command; `leads`: this process sends the publications; `ways`: groups of
    /// changes that went to the database as one statement, and as several.
    pub fn prometheus(&self, waiting: usize, leads: bool, ways: (u64, u64)) -> String {
        let mut out = String::with_capacity(4096);
        self.counters(&mut out);
        let _ = writeln!(
            out,
            "# HELP keyway_core_unlocks_waiting Calls that wait for the end of a command.\n\
             # TYPE keyway_core_unlocks_waiting gauge\nkeyway_core_unlocks_waiting {waiting}\n\
             # HELP keyway_core_leads Whether this process sends the publications: of several cores one does.\n\
             # TYPE keyway_core_leads gauge\nkeyway_core_leads {}\n\
             # HELP keyway_core_store_groups_total Groups of changes written, as one statement or as several.\n\
             # TYPE keyway_core_store_groups_total counter\n\
             keyway_core_store_groups_total{{way=\"single\"}} {}\nkeyway_core_store_groups_total{{way=\"long\"}} {}",
            u8::from(leads),
            ways.0,
            ways.1
        );
        self.request_time.write(&mut out, "keyway_core_request_seconds", "From delivery to answer.");
        self.unlock_time.write(
            &mut out,
            "keyway_core_unlock_seconds",
            "Unlocks, waiting for the door included.",
        );
        self.http_time.write(&mut out, "keyway_core_http_seconds", "Requests of the HTTP API.");
        out
    }
}
