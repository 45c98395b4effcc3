//! Which object stands for an address when several claim it, and what about a snapshot forbids a plan. Owns the rule that
//! nothing is guessed.

use std::collections::BTreeSet;

use super::{Duplicate, Problem, World, mentions};
use crate::address::Address;
use crate::graph::TAG_REPLACES;
use crate::kinds::KindId;
use crate::snapshot::Observed;

impl<'a> World<'a> {
    /// Several objects at one address: one that was made to replace another is the
    /// new one of a replacement that did not finish, and the other is to go. Without that word they are nobody's guess.
    pub(super) fn settle_claims(&mut self, address: &Address, objects: &[&'a Observed]) -> bool {
        if !self.graph.resources.contains_key(address) {
            // All of them go, so there is nothing to tell apart.
            objects.iter().for_each(|object| self.set_aside(address, object));
            return true;
        }
        let replaced: BTreeSet<&str> =
            objects.iter().filter_map(|object| object.tags.get(TAG_REPLACES)).map(String::as_str).collect();
        let current: Vec<_> =
            objects.iter().filter(|object| !replaced.contains(object.id.as_str())).copied().collect();
        let [current] = current.as_slice() else { return false };
        for object in objects.iter().filter(|object| object.id != current.id) {
            self.set_aside(address, object);
        }
        self.observed.insert(address.clone(), current);
        true
    }

    fn set_aside(&mut self, address: &Address, object: &'a Observed) {
        let fit = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        let id: String = object
            .id
            .to_lowercase()
            .chars()
            .rev()
            .take(40)
            .map(fit)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        self.observed.insert(Address::new(format!("{address}@{id}")), object);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let faults =
            self.graph.check().into_iter().map(|fault| Problem::Graph { message: fault.to_string() });
        let incomplete = self.snapshot.incomplete.iter();
        let incomplete =
            incomplete.map(|(&kind, reason)| Problem::Incomplete { kind, reason: reason.clone() });
        let duplicates = self.duplicated.iter().map(|address| {
            let objects: Vec<&Observed> = self.snapshot.at(address).collect();
            Problem::Duplicate {
                address: address.clone(),
                kind: objects.first().map_or(KindId::Vpc, |object| object.kind),
                objects: objects
                    .iter()
                    .map(|object| Duplicate {
                        id: object.id.clone(),
                        referred_by: self.referrers(&object.id),
                    })
                    .collect(),
            }
        });
        faults.chain(incomplete).chain(duplicates).collect()
    }

    fn referrers(&self, id: &str) -> Vec<String> {
        let refers =
            |object: &&Observed| object.id != id && object.fields.values().any(|value| mentions(value, id));
        let name = |object: &Observed| {
            object.address.as_ref().map_or_else(|| object.id.clone(), |address| address.to_string())
        };
        self.snapshot.resources.iter().filter(refers).map(name).collect()
    }
}
