//! What differs between a resource as it was seen and as it is wanted, for calls that name only what changes. `None`
//! in the wanted form is "not managed" and never differs.

use std::collections::BTreeMap;

use infra_model::address::Ref;

/// The wanted value, if there is one and it is not what was seen.
pub(crate) fn differing<T: PartialEq + Clone>(seen: &Option<T>, wanted: &Option<T>) -> Option<T> {
    wanted.clone().filter(|value| seen.as_ref() != Some(value))
}

/// The wanted entries of a map that were not seen so.
pub(crate) fn changed(
    seen: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let differs = |(key, value): &(&String, &String)| seen.get(*key) != Some(*value);
    wanted.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The keys that were seen and are not wanted.
pub(crate) fn surplus(seen: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Vec<String> {
    seen.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect()
}

/// The wanted list as ids, if it is another set than the one that was seen.
pub(crate) fn differing_set<K>(seen: &[Ref<K>], wanted: &[Ref<K>]) -> Option<Vec<String>> {
    let (mut now, mut then) = (texts(seen), texts(wanted));
    now.sort();
    then.sort();
    (now != then).then_some(then)
}

pub(crate) fn texts<K>(refs: &[Ref<K>]) -> Vec<String> {
    refs.iter().map(|r| r.as_str().to_owned()).collect()
}

/// Ids as references in the one order in which snapshots show sets.
pub(crate) fn sorted<K>(ids: impl Iterator<Item = String>) -> Vec<Ref<K>> {
    let mut refs: Vec<_> = ids.map(Ref::physical).collect();
    refs.sort();
    refs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_and_different_is_named() {
        assert_eq!(differing(&Some(1), &Some(2)), Some(2));
        assert_eq!(differing(&None, &Some(2)), Some(2));
        assert_eq!(differing(&Some(2), &Some(2)), None);
        assert_eq!(differing(&Some(2), &None), None);

        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let both = changed(&map(&[("a", "1"), ("b", "1"), ("c", "1")]), &map(&[("a", "1"), ("b", "2")]));
        assert_eq!(both, [("b".to_owned(), "2".to_owned())]);

        let refs = |ids: &[&str]| sorted::<()>(ids.iter().map(|id| (*id).to_owned()));
        assert_eq!(differing_set(&refs(&["a", "b"]), &refs(&["b", "a"])), None);
        assert_eq!(differing_set(&refs(&["a"]), &refs(&["b", "a"])).unwrap(), ["a", "b"]);
    }
}
