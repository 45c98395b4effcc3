//! What a recovering client gets: everything it missed, in order, or the truth that it cannot have it. Never a
//! part. Pure decisions over one atomic history read.

use std::sync::Arc;

use keyway_bus::{History, Publication};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    pub recovered: bool,
    pub publications: Vec<Arc<Publication>>,
}

impl Recovered {
    fn no() -> Recovered {
        Recovered { recovered: false, publications: Vec::new() }
    }

    /// What it will take in a queue, roughly from above.
    pub fn bytes(&self) -> usize {
        self.publications.iter().map(|publication| publication.data.len() + ENVELOPE_BYTES).sum()
    }

    /// All of it within so many bytes, or nothing.
    pub fn within(self, bytes_max: usize) -> Recovered {
        if self.bytes() > bytes_max { Recovered::no() } else { self }
    }
}

/// A publication beside its payload: offset, field names, and usually no info.
const ENVELOPE_BYTES: usize = 128;

/// `history` holds what comes after `offset`, read with a limit of one above `publications_max`.
pub(super) fn stream(epoch: &str, offset: u64, history: &History, publications_max: usize) -> Recovered {
    let top = &history.top;
    if !epoch.is_empty() && epoch != top.epoch.as_str() {
        return Recovered::no();
    }
    let publications = &history.publications;
    if publications.len() > publications_max {
        return Recovered::no();
    }
    let without_holes = publications.iter().zip(offset + 1..).all(|(it, expected)| it.offset == expected);
    let reaches_top = offset + publications.len() as u64 == top.offset;
    if without_holes && reaches_top {
        Recovered { recovered: true, publications: publications.clone() }
    } else {
        Recovered::no()
    }
}

/// `history` holds the latest publication, if there is one.
pub(super) fn cache(epoch: &str, offset: u64, history: &History) -> Recovered {
    let top = &history.top;
    let has_it = offset > 0 && offset == top.offset && epoch == top.epoch.as_str();
    match history.publications.first() {
        None => Recovered { recovered: has_it, publications: Vec::new() },
        Some(latest) if latest.offset == top.offset => Recovered {
            recovered: true,
            publications: if has_it { Vec::new() } else { vec![Arc::clone(latest)] },
        },
        Some(_) => Recovered::no(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_bus::{Epoch, Position};

    /// Epoch and offset of the client, offsets in history, top, what it gets.
    type Case<T> = (&'static str, u64, &'static [u64], u64, T);

    fn history(offsets: &[u64], top: u64) -> History {
        let publications = offsets
            .iter()
            .map(|offset| Arc::new(Publication { offset: *offset, ..Publication::default() }))
            .collect();
        History { publications, top: Position::new(Epoch::new("E"), top) }
    }

    #[test]
    fn all_or_nothing() {
        let cases: &[Case<Option<usize>>] = &[
            ("E", 1, &[2, 3], 3, Some(2)),
            ("", 1, &[2, 3], 3, Some(2)),
            ("E", 3, &[], 3, Some(0)),
            ("E", 0, &[1], 1, Some(1)),
            ("zzzz", 1, &[2, 3], 3, None),
            ("E", 9, &[], 3, None),
            ("E", 1, &[3], 3, None),
            ("E", 1, &[2], 3, None),
            ("E", 1, &[2, 4], 4, None),
            ("E", 1, &[], 3, None),
            ("E", 0, &[1, 2, 3, 4], 4, None),
        ];
        for (epoch, offset, offsets, top, expected) in cases {
            let outcome = stream(epoch, *offset, &history(offsets, *top), 3);
            assert_eq!(
                outcome.recovered.then_some(outcome.publications.len()),
                *expected,
                "{epoch}@{offset} over {offsets:?} top {top}"
            );
            assert!(outcome.recovered || outcome.publications.is_empty(), "never a part");
        }
    }

    #[test]
    fn a_cache_gives_the_latest_unless_the_client_has_it() {
        let cases: &[Case<(bool, usize)>] = &[
            ("", 0, &[7], 7, (true, 1)),
            ("E", 3, &[7], 7, (true, 1)),
            ("old", 7, &[7], 7, (true, 1)),
            ("E", 7, &[7], 7, (true, 0)),
            ("E", 7, &[], 7, (true, 0)),
            ("E", 6, &[], 7, (false, 0)),
            ("", 0, &[], 0, (false, 0)),
        ];
        for (epoch, offset, offsets, top, expected) in cases {
            let outcome = cache(epoch, *offset, &history(offsets, *top));
            assert_eq!(
                (outcome.recovered, outcome.publications.len()),
                *expected,
                "{epoch}@{offset} {offsets:?}"
            );
        }
    }
}
