//! Any bytes as batches of events, one after the other into the same intake. Nothing is counted twice, and the
//! watermark never goes back.
#![no_main]

use keyway_domain::event::EventBatch;
use keyway_domain::event::intake::Intake;
use std::collections::BTreeSet;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut intake = Intake::begun();
    let mut seen = BTreeSet::new();
    for part in bytes.split(|byte| *byte == b'\n').take(32) {
        let Ok(batch) = serde_json::from_slice::<EventBatch>(part) else { continue };
        let before = intake.watermark;
        if let Ok(taken) = intake.take(&batch) {
            for (event, _) in taken.new {
                assert!(seen.insert(event.seq));
            }
        }
        assert!(intake.watermark >= before);
        intake.wanted();
    }
});
