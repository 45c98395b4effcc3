//! What a node knows of one subscribed channel's stream: pure. It decides for each publication whether it is
//! next, old, or shows a gap, and for each reading of the stream what it closes. It delivers nothing itself.

use crate::limits::{CONTROLS_KEPT, HISTORY_READ_MAX};
use crate::position::{Epoch, Position};

/// A gap that so many readings in a row did not close is in a channel faster than we can read. The longest stream there is
/// (controls) has this many pages, and a few more may come meanwhile.
const REPAIRS_MAX: u32 = CONTROLS_KEPT / HISTORY_READ_MAX as u32 + 4;

/// Every how many turns a channel without traffic is compared with its stream.
pub(crate) const TURNS_PER_CHECK: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Track {
    /// The server has confirmed the subscription on the present link.
    pub confirmed: bool,
    epoch: Epoch,
    /// The numbering before: what still comes of it is late, not new.
    former: Epoch,
    /// The last offset handed on.
    last: Option<u64>,
    /// The lowest top anyone here has read: nothing after it may be missing.
    floor: Option<u64>,
    repair: Option<Repair>,
    /// Turns of the position check since the last traffic: live publications check positions by themselves.
    quiet: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Repair {
    seen: u64,
    /// Something happened that a reading made before does not show: a publication of another numbering came, or what came
    /// meanwhile may have been lost.
    again: bool,
    readings: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Deliver,
    /// Handed on before, or about to be by the repair under way.
    Drop,
    /// Publications are missing before this one: read the stream. This one comes with it.
    StartRepair,
    /// The numbering began anew: everyone positioned in the old one has a gap; this one is handed on.
    NewEpoch,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Repaired {
    Done,
    /// More has come meanwhile: read again.
    Again,
    /// The stream could not give back what is missing before this. More may be wanted still.
    Lost(Position),
}

impl Track {
    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Judges a live publication.
    pub(crate) fn judge(&mut self, epoch: &[u8], offset: u64) -> Verdict {
        if offset == 0 {
            return Verdict::Deliver;
        }
        self.quiet = 0;
        if let Some(repair) = &mut self.repair {
            if self.epoch.as_str().as_bytes() == epoch {
                repair.seen = repair.seen.max(offset);
            } else {
                repair.again = true;
            }
            return Verdict::Drop;
        }
        if self.epoch.as_str().as_bytes() != epoch {
            if self.former.as_str().as_bytes() == epoch {
                return Verdict::Drop;
            }
            let first = self.epoch.is_empty();
            self.restart(Epoch::new(&String::from_utf8_lossy(epoch)), Some(offset));
            return if first { Verdict::Deliver } else { Verdict::NewEpoch };
        }
        match (self.last, self.floor) {
            (Some(last), _) if offset <= last => Verdict::Drop,
            (Some(base), _) | (None, Some(base)) if offset > base + 1 => {
                self.repair = Some(Repair { seen: offset, ..Repair::default() });
                Verdict::StartRepair
            }
            _ => {
                self.last = Some(offset);
                Verdict::Deliver
            }
        }
    }

    /// Notes a top that was read for a session. True when it shows that the numbering began anew.
    pub(crate) fn note(&mut self, top: &Position) -> bool {
        if self.epoch == top.epoch {
            self.floor = Some(self.floor.map_or(top.offset, |floor| floor.min(top.offset)));
            return false;
        }
        let first = self.epoch.is_empty();
        self.restart(top.epoch.clone(), None);
        self.floor = Some(top.offset);
        !first
    }

    /// One more turn: whether a check of the position makes sense now. At the latest so many turns after the last traffic,
    /// and as often after that; and at once when something may have been lost, which a repair under way reads once more for.
    pub(crate) fn due(&mut self, even_active: bool) -> bool {
        self.quiet = self.quiet.saturating_add(1);
        if let Some(repair) = self.repair.as_mut().filter(|_| even_active) {
            repair.again = true;
        }
        let quiet = self.quiet.is_multiple_of(TURNS_PER_CHECK);
        self.repair.is_none() && !self.epoch.is_empty() && (even_active || quiet)
    }

    /// Compares with the stream's top as just read. True: read the stream with [`Track::since`].
    pub(crate) fn check(&mut self, top: &Position) -> bool {
        let behind = top.epoch != self.epoch || self.base().is_some_and(|base| top.offset > base);
        if behind && self.repair.is_none() {
            self.repair = Some(Repair::default());
            return true;
        }
        false
    }

    /// From where to read the stream; `None` when nothing is being repaired (any more).
    pub(crate) fn wanted(&self) -> Option<Position> {
        self.repair.as_ref().map(|_| Position::new(self.epoch.clone(), self.base().unwrap_or(0)))
    }

    fn base(&self) -> Option<u64> {
        self.last.or(self.floor)
    }

    /// Judges one message of a reading: true to hand it on, false for a repeat. `None`: it is not the next one.
    pub(crate) fn advance(&mut self, offset: u64) -> Option<bool> {
        let base = self.base().unwrap_or(0);
        if offset > base + 1 {
            return None;
        }
        let next = offset == base + 1;
        if next {
            self.last = Some(offset);
        }
        Some(next)
    }

    /// Ends one reading whose messages have been handed on.
    pub(crate) fn repaired(&mut self, top: &Position, complete: bool) -> Repaired {
        let base = self.base().unwrap_or(0);
        let Some(repair) = &mut self.repair else { return Repaired::Done };
        repair.readings += 1;
        let exhausted = repair.readings > REPAIRS_MAX;
        if !complete || top.epoch != self.epoch || top.offset < base || exhausted {
            let same = top.epoch == self.epoch;
            let beyond = repair.again || (same && repair.seen > top.offset);
            let readings = repair.readings;
            let last = if exhausted && same { repair.seen.max(top.offset) } else { top.offset };
            self.restart(top.epoch.clone(), Some(last));
            if beyond && !exhausted {
                // What came during the reading and was left to it is not in it.
                self.repair = Some(Repair { readings, ..Repair::default() });
            }
            return Repaired::Lost(Position::new(top.epoch.clone(), last));
        }
        if base < repair.seen.max(top.offset) || std::mem::take(&mut repair.again) {
            return Repaired::Again;
        }
        self.repair = None;
        Repaired::Done
    }

    /// Reads a new numbering from its start: for channels of which every message counts.
    pub(crate) fn follow(&mut self, epoch: Epoch, seen: u64) {
        self.restart(epoch, Some(0));
        self.repair = Some(Repair { seen, ..Repair::default() });
    }

    /// Gives up reading: the next live publication starts afresh.
    pub(crate) fn give_up(&mut self) -> Position {
        let seen = self.repair.as_ref().map_or(0, |repair| repair.seen);
        let top = Position::new(self.epoch.clone(), seen.max(self.base().unwrap_or(0)));
        self.restart(self.epoch.clone(), Some(top.offset));
        top
    }

    fn restart(&mut self, epoch: Epoch, last: Option<u64>) {
        if self.epoch != epoch {
            self.former = std::mem::replace(&mut self.epoch, epoch);
        }
        self.last = last;
        self.floor = None;
        self.repair = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::*;

    fn at(epoch: &str, offset: u64) -> Position {
        Position::new(Epoch::new(epoch), offset)
    }

    #[test]
    fn live_publications_are_judged_by_their_offset() {
        let mut track = Track::default();
        assert_eq!(track.judge(b"", 0), Verdict::Deliver);
        assert_eq!(track.judge(b"e", 7), Verdict::Deliver, "the first sets the base");
        assert_eq!(track.judge(b"e", 8), Verdict::Deliver);
        assert_eq!(track.judge(b"e", 8), Verdict::Drop);
        assert_eq!(track.judge(b"f", 1), Verdict::NewEpoch);
        assert_eq!(track.judge(b"f", 2), Verdict::Deliver);
        assert_eq!(track.judge(b"f", 4), Verdict::StartRepair);
        assert_eq!(track.judge(b"f", 5), Verdict::Drop, "comes with the repair");
        assert_eq!(track.judge(b"", 0), Verdict::Deliver, "without history nothing waits");
    }

    #[test]
    fn the_lowest_top_read_shows_what_is_missing() {
        let mut track = Track::default();
        assert!(!track.note(&at("e", 9)));
        assert!(!track.note(&at("e", 10)));
        assert_eq!(track.judge(b"e", 10), Verdict::Deliver, "a session that read 9 still waits for 10");
        let mut track = Track::default();
        track.note(&at("e", 9));
        assert_eq!(track.judge(b"e", 11), Verdict::StartRepair);
        assert_eq!(track.wanted(), Some(at("e", 9)));
        assert!(track.note(&at("f", 0)), "a new numbering is noticed");
        assert_eq!(track.judge(b"f", 1), Verdict::Deliver);
    }

    #[test]
    fn repairs_end_done_again_or_lost() {
        let start = || {
            let mut track = Track::default();
            track.judge(b"e", 1);
            assert_eq!(track.judge(b"e", 4), Verdict::StartRepair);
            track
        };
        let mut track = start();
        assert_eq!([2, 3, 4].map(|offset| track.advance(offset)), [Some(true); 3]);
        assert_eq!(track.repaired(&at("e", 4), true), Repaired::Done);
        assert_eq!(track.judge(b"e", 5), Verdict::Deliver);

        let mut track = start();
        track.advance(2);
        track.judge(b"e", 6);
        assert_eq!(track.repaired(&at("e", 4), true), Repaired::Again);
        assert_eq!(track.advance(2), Some(false), "a repeat");
        assert_eq!(track.advance(5), None, "trimmed");
        assert_eq!(track.repaired(&at("e", 6), false), Repaired::Lost(at("e", 6)));
        assert_eq!(track.judge(b"e", 7), Verdict::Deliver, "goes on from the top");

        let mut track = start();
        assert_eq!(track.repaired(&at("f", 2), true), Repaired::Lost(at("f", 2)));
        let mut track = start();
        for _ in 0..REPAIRS_MAX {
            assert_eq!(track.repaired(&at("e", 4), true), Repaired::Again);
        }
        assert_eq!(track.repaired(&at("e", 3), true), Repaired::Lost(at("e", 4)), "readings are bounded");
        assert_eq!(track.wanted(), None);
    }

    #[test]
    fn checks_start_a_repair_once() {
        let mut track = Track::default();
        assert!(!track.due(true), "nothing is known of it");
        track.judge(b"e", 3);
        assert_eq!([0; 5].map(|_| track.due(false)), [false, true, false, true, false]);
        track.judge(b"e", 3);
        assert_eq!([0; 2].map(|_| track.due(false)), [false, true], "traffic checks by itself");
        track.judge(b"", 0);
        assert!(track.due(true));
        assert!(!track.check(&at("e", 3)));
        assert!(track.check(&at("e", 4)));
        assert!(!track.check(&at("e", 4)) && !track.due(true), "under way");
        assert_eq!(track.advance(4), Some(true));
        assert_eq!(
            track.repaired(&at("e", 4), true),
            Repaired::Again,
            "what came behind the reading may be lost"
        );
        assert_eq!(track.repaired(&at("e", 4), true), Repaired::Done);
        assert!(track.check(&at("e", 5)));
        track.give_up();
        assert!(track.check(&at("f", 0)));
    }

    /// A channel's stream on the server, what is under way from it, and a track with one repair at most.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct World {
        track: Track,
        epoch: u8,
        top: u64,
        /// The oldest publication that is still stored is one above this.
        trimmed: u64,
        under_way: VecDeque<(u8, u64)>,
        /// A repair that was asked for; with what it has read but not yet handed on.
        repair: Option<Option<Reading>>,
        /// Up to where the sessions have everything, or word that they have not.
        given: (u8, u64),
        /// The furthest that has arrived here.
        heard: (u8, u64),
        /// The last that was handed on, of each numbering.
        handed: [u64; 2],
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Reading {
        since: Position,
        epoch: u8,
        top: u64,
        trimmed: u64,
    }

    fn named(epoch: u8) -> String {
        format!("e{epoch}")
    }

    impl World {
        fn hand_on(&mut self, epoch: u8, offset: u64) {
            let handed = &mut self.handed[usize::from(epoch)];
            assert!(offset > *handed, "{offset} again");
            *handed = offset;
            assert!(epoch == self.given.0 && offset <= self.given.1 + 1, "a hole before {offset}");
            // Sessions drop what they have read themselves.
            self.given.1 = self.given.1.max(offset);
        }

        fn arrive(&mut self) {
            let Some((epoch, offset)) = self.under_way.pop_front() else { return };
            self.heard = self.heard.max((epoch, offset));
            match self.track.judge(named(epoch).as_bytes(), offset) {
                Verdict::Deliver => self.hand_on(epoch, offset),
                Verdict::Drop => {}
                Verdict::StartRepair => self.ask(),
                Verdict::NewEpoch => {
                    self.given = (epoch, offset);
                    self.hand_on(epoch, offset);
                }
            }
        }

        fn ask(&mut self) {
            // Where one has not noticed yet that it is no longer wanted, it goes on with this.
            self.repair.get_or_insert_default();
        }

        fn check(&mut self) {
            if self.track.due(true) && self.track.check(&at(&named(self.epoch), self.top)) {
                self.ask();
            }
        }

        /// A session reads the top: what it has from there on is to be whole.
        fn note(&mut self) {
            if self.track.note(&at(&named(self.epoch), self.top)) {
                self.given = (self.epoch, self.top);
            }
        }

        fn read(&mut self) {
            let Some(since) = self.track.wanted() else {
                self.repair = None;
                return;
            };
            let World { epoch, top, trimmed, .. } = *self;
            self.repair = Some(Some(Reading { since, epoch, top, trimmed }));
        }

        /// As `Positions::repair` does it.
        fn hand_on_reading(&mut self, reading: Reading) {
            self.repair = Some(None);
            if self.track.wanted() != Some(reading.since.clone()) {
                return;
            }
            let (before, mut complete) = (reading.since.offset, true);
            if *reading.since.epoch.as_str() == *named(reading.epoch) {
                for offset in (before + 1).max(reading.trimmed + 1)..=reading.top {
                    match self.track.advance(offset) {
                        Some(true) => self.hand_on(reading.epoch, offset),
                        Some(false) => {}
                        None => {
                            complete = false;
                            break;
                        }
                    }
                }
            }
            complete &=
                self.track.wanted().is_some_and(|after| after.offset > before) || reading.top <= before;
            match self.track.repaired(&at(&named(reading.epoch), reading.top), complete) {
                Repaired::Again => {}
                Repaired::Done => self.repair = None,
                Repaired::Lost(_) => self.given = (reading.epoch, reading.top),
            }
        }

        fn next(&self) -> Vec<World> {
            let with = |step: &dyn Fn(&mut World)| {
                let mut next = self.clone();
                step(&mut next);
                next
            };
            let mut next = vec![
                with(&World::arrive),
                with(&World::check),
                with(&World::note),
                with(&|world| _ = world.under_way.pop_front()),
            ];
            if self.top < 3 {
                next.push(with(&|world| {
                    world.top += 1;
                    world.under_way.push_back((world.epoch, world.top));
                }));
            }
            if self.trimmed < self.top {
                next.push(with(&|world| world.trimmed = world.top));
            }
            if self.epoch < 1 {
                next.push(with(&|world| (world.epoch, world.top, world.trimmed) = (world.epoch + 1, 0, 0)));
            }
            match self.repair.clone() {
                Some(None) => next.push(with(&World::read)),
                Some(Some(reading)) => next.push(with(&|world| world.hand_on_reading(reading.clone()))),
                None => {}
            }
            next
        }
    }

    /// Whatever was lost, late, trimmed or numbered anew, in whatever order: nothing comes twice or with a hole, and once
    /// nothing more happens, one check and its repairs bring the sessions to the top, or the word that they are not.
    #[test]
    fn every_way_ends_whole_or_told() {
        let mut track = Track::default();
        track.note(&at("e0", 0));
        let start = World {
            track,
            epoch: 0,
            top: 0,
            trimmed: 0,
            under_way: VecDeque::new(),
            repair: None,
            given: (0, 0),
            heard: (0, 0),
            handed: [0; 2],
        };
        let (mut reached, mut ahead) = (HashSet::new(), vec![start]);
        while let Some(world) = ahead.pop() {
            // What only counters tell apart is the same.
            let mut world = world;
            world.track.quiet = 0;
            world.track.repair.iter_mut().for_each(|repair| repair.readings = 0);
            if world.under_way.len() > 2 || !reached.insert(world.clone()) {
                continue;
            }
            let mut well = world.clone();
            let mut checked = false;
            for _ in 0..40 {
                match well.repair.clone() {
                    Some(None) => well.read(),
                    Some(Some(reading)) => well.hand_on_reading(reading),
                    None if !well.under_way.is_empty() => well.arrive(),
                    None if checked => break,
                    None => {
                        assert!(well.given >= well.heard, "dropped, after {world:?}: {well:?}");
                        well.check();
                        checked = true;
                    }
                }
            }
            assert_eq!(well.given, (well.epoch, well.top), "after {world:?}: {well:?}");
            // A queue ran over and all of it is gone: one check from then on is enough, also amid a repair.
            let mut lost = world.clone();
            lost.under_way.clear();
            lost.check();
            for _ in 0..40 {
                match lost.repair.clone() {
                    Some(None) => lost.read(),
                    Some(Some(reading)) => lost.hand_on_reading(reading),
                    None => break,
                }
            }
            assert_eq!(lost.given, (lost.epoch, lost.top), "lost after {world:?}: {lost:?}");
            ahead.extend(world.next());
        }
        assert!(reached.len() > 1_000, "{}", reached.len());
    }
}
