//! What must hold for every kind in the registry.

use std::collections::BTreeSet;

use super::*;

#[test]
fn names_and_fields_are_unique_and_defaults_are_json() {
    let mut names = BTreeSet::new();
    for &kind in KindId::ALL {
        let spec = kind.spec();
        assert!(names.insert(spec.name), "two kinds are called {}", spec.name);
        assert_eq!(KindId::parse(spec.name), Some(kind));
        let mut fields = BTreeSet::new();
        for field in spec.fields {
            assert!(fields.insert(field.name), "{kind} has two fields {}", field.name);
            if let Some(default) = field.default {
                serde_json::from_str::<serde_json::Value>(default)
                    .unwrap_or_else(|error| panic!("{kind}.{}: {error}", field.name));
            }
            assert!(
                field.at_create || matches!(field.change, Change::Live(_)),
                "{kind}.{} can never be set",
                field.name
            );
        }
        for unique in spec.unique {
            assert!(spec.field(unique).is_some(), "{kind}: no field {unique}");
        }
    }
}
