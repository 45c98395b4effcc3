//! What a node knows of one subscribed channel's stream: pure. It decides for each publication whether it is
//! next, old, or shows a gap, and for each reading of the stream what it closes. It delivers nothing itself.

use crate::position::{Epoch, Position};

/// A gap that five readings in a row did not close is in a channel faster than we can read.
const REPAIRS_MAX: u32 = 5;

#[derive(Debug, Default)]
pub(crate) struct Track {
    /// The server has confirmed the subscription on the present link.
    pub confirmed: bool,
    epoch: Epoch,
    /// The last offset handed on.
    last: Option<u64>,
    /// The lowest top anyone here has read: nothing after it may be missing.
    floor: Option<u64>,
    repair: Option<Repair>,
    /// Traffic since the last position check: live publications check positions by themselves.
    pub active: bool,
}

#[derive(Debug, Default)]
struct Repair {
    seen: u64,
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
    /// The stream could not give the missing back.
    Lost,
}

impl Track {
    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Judges a live publication.
    pub(crate) fn judge(&mut self, epoch: &[u8], offset: u64) -> Verdict {
        self.active = true;
        if offset == 0 {
            return Verdict::Deliver;
        }
        if let Some(repair) = &mut self.repair {
            repair.seen = repair.seen.max(offset);
            return Verdict::Drop;
        }
        if self.epoch.as_str().as_bytes() != epoch {
            let first = self.epoch.is_empty();
            self.restart(Epoch::new(&String::from_utf8_lossy(epoch)), Some(offset));
            return if first { Verdict::Deliver } else { Verdict::NewEpoch };
        }
        match (self.last, self.floor) {
            (Some(last), _) if offset <= last => Verdict::Drop,
            (Some(base), _) | (None, Some(base)) if offset > base + 1 => {
                self.repair = Some(Repair { seen: offset, readings: 0 });
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

    /// Whether a check of the position makes sense now; forgets past traffic.
    pub(crate) fn due(&mut self, even_active: bool) -> bool {
        let active = std::mem::take(&mut self.active);
        self.repair.is_none() && !self.epoch.is_empty() && (even_active || !active)
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

    pub(crate) fn since(&self) -> Position {
        Position::new(self.epoch.clone(), self.base().unwrap_or(0))
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
        let lost = !complete || top.epoch != self.epoch || top.offset < base || repair.readings > REPAIRS_MAX;
        if lost {
            self.restart(top.epoch.clone(), Some(top.offset));
            return Repaired::Lost;
        }
        if base < repair.seen.max(top.offset) {
            return Repaired::Again;
        }
        self.repair = None;
        Repaired::Done
    }

    /// Gives up reading: the next live publication starts afresh.
    pub(crate) fn give_up(&mut self) -> Position {
        let seen = self.repair.as_ref().map_or(0, |repair| repair.seen);
        let top = Position::new(self.epoch.clone(), seen.max(self.base().unwrap_or(0)));
        self.restart(self.epoch.clone(), Some(top.offset));
        top
    }

    fn restart(&mut self, epoch: Epoch, last: Option<u64>) {
        self.epoch = epoch;
        self.last = last;
        self.floor = None;
        self.repair = None;
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(track.since(), at("e", 9));
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
        assert_eq!(track.repaired(&at("e", 6), false), Repaired::Lost);
        assert_eq!(track.judge(b"e", 7), Verdict::Deliver, "goes on from the top");

        let mut track = start();
        assert_eq!(track.repaired(&at("f", 2), true), Repaired::Lost);
        let mut track = start();
        for _ in 0..REPAIRS_MAX {
            assert_eq!(track.repaired(&at("e", 4), true), Repaired::Again);
        }
        assert_eq!(track.repaired(&at("e", 4), true), Repaired::Lost, "readings are bounded");
    }

    #[test]
    fn checks_start_a_repair_once() {
        let mut track = Track::default();
        assert!(!track.due(true), "nothing is known of it");
        track.judge(b"e", 3);
        assert!(!track.due(false), "traffic checks by itself");
        assert!(track.due(false));
        assert!(!track.check(&at("e", 3)));
        assert!(track.check(&at("e", 4)));
        assert!(!track.check(&at("e", 4)) && !track.due(true), "under way");
        track.give_up();
        assert!(track.check(&at("f", 0)));
    }
}
