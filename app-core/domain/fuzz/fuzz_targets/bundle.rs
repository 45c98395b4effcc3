//! Any bytes as a bundle: what loads is asked about every credential at instants from all over.
#![no_main]

use keyway_domain::bundle::{Bundle, BundleBody};
use keyway_domain::decision::{Attempt, Shown, Situation, decide};
use keyway_domain::time::{Moment, UnixMs};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = serde_json::from_slice::<BundleBody>(bytes) else { return };
    let Ok(bundle) = Bundle::load(body) else { return };
    let issued = bundle.body().issued_at.0;
    for credential in bundle.body().credentials.iter().take(16) {
        for at in [0, issued, issued + 1, u64::MAX] {
            let attempt = Attempt { shown: Shown::Digest(credential.digest), pin: None, first: None };
            let now = Moment { at: UnixMs(at), error_ms: 29_000 };
            decide(&bundle.in_situation(Situation::plain()), &attempt, now);
        }
    }
});
