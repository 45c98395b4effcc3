//! Events between a device's outbox and core's intake, over a link that repeats, reorders and drops batches: every
//! event is committed exactly once or declared lost, the watermark never passes what is missing, tampering shows.

use crate::worlds::{Dice, START};
use keyway_domain::clock::ClockQuality;
use keyway_domain::event::intake::{Intake, IntakeError};
use keyway_domain::event::outbox::EventOutbox;
use keyway_domain::event::{DeviceEvent, Epoch, EventBatch, EventKind, Occurred, SeqRange};
use keyway_domain::id::{DeviceId, TenantId};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn occurred(number: u64) -> Occurred {
    Occurred { at: Some(START.plus(number)), clock: ClockQuality::Synced, error_ms: 3 }
}

fn ids() -> (TenantId, DeviceId) {
    (TenantId::mint(START, [1; 10]), DeviceId::mint(START, [1; 10]))
}

fn draft(number: u64) -> DeviceEvent {
    let kind = EventKind::ALL[number as usize % (EventKind::ALL.len() - 2)];
    EventOutbox::draft(kind, occurred(number))
}

/// What core's tables hold.
#[derive(Default)]
struct Committed {
    events: BTreeMap<u64, String>,
    lost: Vec<SeqRange>,
}

impl Committed {
    fn take(&mut self, intake: &mut Intake, batch: &EventBatch) -> Result<(), TestCaseError> {
        let taken = intake.take(batch).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (event, bytes) in taken.new {
            prop_assert!(
                self.events.insert(event.seq, bytes.get().to_owned()).is_none(),
                "{} twice",
                event.seq
            );
        }
        self.lost.extend(taken.newly_lost);
        for seq in 1..=intake.watermark {
            let lost = self.lost.iter().any(|range| (range.from..=range.to).contains(&seq));
            prop_assert!(
                self.events.contains_key(&seq) || lost,
                "watermark {} but {seq} is missing",
                intake.watermark
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn every_event_once_or_declared_lost(seed in any::<u64>(), bytes_max in 400usize..6_000, count in 1u64..120) {
        let (tenant, device) = ids();
        let dice = &mut Dice(seed);
        let mut outbox = EventOutbox::begun(Epoch(7), bytes_max);
        let (mut intake, mut core) = (Intake::begun(), Committed::default());
        // Every batch that was ever sent may come again, at any time.
        let mut wire: Vec<EventBatch> = Vec::new();
        let mut made = BTreeMap::new();
        for number in 1..=count {
            let seq = outbox.append(draft(number));
            made.insert(seq, number);
            if dice.one_in(2) {
                let from = 1 + dice.below(outbox.next_seq());
                wire.extend(outbox.batch(tenant, device, from));
            }
            if !wire.is_empty() && dice.one_in(2) {
                let batch = wire[dice.below(wire.len() as u64) as usize].clone();
                core.take(&mut intake, &batch)?;
            }
            if dice.one_in(3) {
                outbox.committed(intake.watermark);
            }
        }
        // The link is good again: what is asked for is sent, until nothing is missing.
        for _ in 0..200 {
            let from = intake.wanted().first().map_or(intake.watermark + 1, |range| range.from);
            let Some(batch) = outbox.batch(tenant, device, from) else { break };
            core.take(&mut intake, &batch)?;
            outbox.committed(intake.watermark);
        }
        outbox.committed(intake.watermark);
        prop_assert_eq!(intake.watermark, outbox.next_seq() - 1, "not all arrived: {:?}", intake);
        prop_assert!(intake.runs.is_empty() && intake.wanted().is_empty() && intake.broken_at.is_none());
        prop_assert!(outbox.held().is_none() && outbox.kept_bytes() == 0);
        for seq in 1..outbox.next_seq() {
            let lost = core.lost.iter().any(|range| (range.from..=range.to).contains(&seq));
            prop_assert!(core.events.contains_key(&seq) != lost, "{seq} is both or neither");
        }
        // Everything again, backwards: nothing changes.
        let before = intake.clone();
        for batch in wire.iter().rev() {
            let taken = intake.take(batch).unwrap();
            prop_assert!(taken.new.is_empty() && taken.newly_lost.is_empty());
        }
        prop_assert_eq!(intake, before);
    }
}

fn batch(outbox: &EventOutbox, from: u64) -> EventBatch {
    let (tenant, device) = ids();
    outbox.batch(tenant, device, from).unwrap()
}

#[test]
fn a_gap_is_asked_for_and_an_event_beyond_it_is_not_lost() {
    let mut outbox = EventOutbox::begun(Epoch(1), 1 << 20);
    (1..=30).for_each(|number| _ = outbox.append(draft(number)));
    let mut intake = Intake::begun();
    let mut early = batch(&outbox, 1);
    early.items.truncate(10);
    intake.take(&early).unwrap();
    assert_eq!(intake.take(&batch(&outbox, 21)).unwrap().new.len(), 10);
    assert_eq!((intake.watermark, intake.wanted()), (10, vec![SeqRange { from: 11, to: 20 }]));
    assert_eq!(intake.take(&batch(&outbox, 11)).unwrap().new.len(), 10);
    assert_eq!((intake.watermark, intake.wanted()), (30, vec![]));
}

#[test]
fn a_history_told_differently_is_noticed() {
    let mut outbox = EventOutbox::begun(Epoch(1), 1 << 20);
    let mut other = EventOutbox::begun(Epoch(1), 1 << 20);
    for number in 1..=6 {
        outbox.append(draft(number));
        other.append(draft(if number == 2 { 9 } else { number }));
    }
    let mut intake = Intake::begun();
    let mut first = batch(&outbox, 1);
    first.items.truncate(3);
    intake.take(&first).unwrap();
    intake.take(&batch(&other, 4)).unwrap();
    assert_eq!(intake.broken_at, Some(4));
}

#[test]
fn batches_that_are_none() {
    let mut outbox = EventOutbox::begun(Epoch(1), 1 << 20);
    (1..=3).for_each(|number| _ = outbox.append(draft(number)));
    let good = batch(&outbox, 1);
    let check = |change: &dyn Fn(&mut EventBatch), expected: IntakeError| {
        let mut bad = good.clone();
        change(&mut bad);
        let mut intake = Intake::begun();
        assert_eq!(intake.take(&bad).map(|_| ()), Err(expected));
        assert_eq!(intake, Intake::begun(), "changed by a batch that was refused");
    };
    check(&|bad| bad.first_seq = 0, IntakeError::Overflow);
    check(&|bad| bad.first_seq = u64::MAX - 1, IntakeError::Overflow);
    check(&|bad| bad.first_seq = 2, IntakeError::Item { place: 0, wanted: 2 });
    check(&|bad| bad.items.swap(1, 2), IntakeError::Item { place: 1, wanted: 2 });
    check(&|bad| bad.lost.push(SeqRange { from: 9, to: 9 }), IntakeError::Loss);
    check(&|bad| bad.lost.push(SeqRange { from: 2, to: 1 }), IntakeError::Loss);
    check(&|bad| bad.items = vec![bad.items[0].clone(); 257], IntakeError::TooMany(257));
}

#[test]
fn a_full_memory_says_what_it_lost() {
    let mut outbox = EventOutbox::begun(Epoch(1), 2_000);
    (1..=100).for_each(|number| _ = outbox.append(draft(number)));
    assert!(outbox.kept_bytes() <= 2_400, "{}", outbox.kept_bytes());
    let held = outbox.held().unwrap();
    let mut intake = Intake::begun();
    let taken = intake.take(&batch(&outbox, held.from)).unwrap();
    assert_eq!(taken.newly_lost, vec![SeqRange { from: 1, to: held.from - 1 }]);
    assert!(
        taken
            .new
            .iter()
            .any(|(event, _)| event.kind == EventKind::DeviceBufferOverflow && event.lost.is_some())
    );
    assert_eq!(intake.watermark, held.to);
}

/// Core lives on from an older backup: what was acknowledged since is gone on both sides. It is declared, once, and what
/// the device still has follows.
#[test]
fn what_a_restored_core_has_lost_is_declared_and_not_asked_for_for_ever() {
    let (tenant, device) = ids();
    let mut outbox = EventOutbox::begun(Epoch(1), 1 << 20);
    let mut intake = Intake::begun();
    for number in 1..=3 {
        outbox.append(draft(number));
    }
    intake.take(&outbox.batch(tenant, device, 1).unwrap()).unwrap();
    let mut restored = intake.clone();
    for number in 4..=6 {
        outbox.append(draft(number));
    }
    intake.take(&outbox.batch(tenant, device, 4).unwrap()).unwrap();
    outbox.committed(intake.watermark);
    for number in 7..=9 {
        outbox.append(draft(number));
    }
    let taken = restored.take(&outbox.batch(tenant, device, 7).unwrap()).unwrap();
    assert_eq!((taken.new.len(), restored.watermark), (3, 3));
    assert_eq!(restored.wanted(), [SeqRange { from: 4, to: 6 }]);
    restored.wanted().into_iter().for_each(|range| outbox.asked_for(range));
    let again = restored.take(&outbox.batch(tenant, device, 4).unwrap()).unwrap();
    assert_eq!(again.newly_lost, [SeqRange { from: 4, to: 6 }]);
    assert_eq!((restored.watermark, restored.wanted()), (9, Vec::new()));
    assert_eq!(restored.broken_at, None);
    // A relay that invents the question gets a loss declared that core knows better.
    outbox.asked_for(SeqRange { from: 1, to: 6 });
    let taken = intake.take(&outbox.batch(tenant, device, 7).unwrap()).unwrap();
    assert_eq!((taken.newly_lost, intake.watermark), (Vec::new(), 9));
}
