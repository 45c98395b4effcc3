//! What a step loses for good: data that goes with an object, and data that a change lets go although the object stays. The
//! kinds say what that is; whether it may be lost is decided elsewhere.

use serde_json::Value;

use crate::diff::FieldChange;
use crate::kinds::{Losing, Spec};
use crate::snapshot::Observed;

/// Of an object that is deleted or replaced.
pub(super) fn with(object: &Observed) -> Vec<String> {
    let Some(loss) = object.kind.spec().loses else { return Vec::new() };
    let remains = loss.spared.and_then(|(field, remains)| {
        let value = object.fields.get(field)?.as_u64().filter(|value| *value > 0)?;
        Some(remains.replace("{}", &value.to_string()))
    });
    vec![match remains {
        Some(remains) => format!("{} ({remains})", loss.what),
        None => loss.what.to_owned(),
    }]
}

/// Of an object that stays and is changed.
pub(super) fn by(spec: &Spec, changes: &[FieldChange]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for change in changes {
        let Some((losing, what)) = spec.field(change.field()).and_then(|field| field.loses) else { continue };
        let number = |value: &Option<Value>| value.as_ref().and_then(Value::as_f64);
        let lower = match (number(&change.before), number(&change.after)) {
            (Some(before), Some(after)) => after < before,
            (None, Some(_)) => losing == Losing::LoweredOrSet,
            (Some(_), None) => losing == Losing::Lowered,
            (None, None) => false,
        };
        if (lower || losing == Losing::Changed) && !found.iter().any(|known| known == what) {
            found.push(what.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diff;
    use crate::kinds::KindId;
    use crate::value::Fields;

    fn fields(value: Value) -> Fields {
        value.as_object().cloned().unwrap()
    }

    #[track_caller]
    fn check_change(kind: KindId, before: Value, after: Value, expected: &[&str]) {
        let changes = diff::fields(kind.spec(), &fields(after), &fields(before));
        assert!(!changes.is_empty());
        assert_eq!(by(kind.spec(), &changes), expected);
    }

    #[test]
    fn shorter_retention_loses_and_longer_does_not() {
        let days = |days: u32| json!({ "retention_days": days });
        let lost = &["what was logged earlier than it keeps now"];
        check_change(KindId::LogGroup, days(30), days(7), lost);
        check_change(KindId::LogGroup, days(7), days(30), &[]);
        check_change(KindId::LogGroup, json!({}), days(7), lost);
        let backups = |days: u32| json!({ "backup_days": days });
        check_change(
            KindId::Database,
            backups(7),
            backups(0),
            &["the backups that are older than it keeps now"],
        );
        check_change(KindId::Database, json!({}), backups(7), &[]);
        let rules = |count: u32| json!({ "lifecycle": { "rules": [{ "count": count }] } });
        check_change(
            KindId::Repository,
            rules(50),
            rules(5),
            &["the images that the new policy no longer keeps"],
        );
        check_change(KindId::Vpc, json!({ "dns_support": true }), json!({ "dns_support": false }), &[]);
    }

    #[test]
    fn what_goes_takes_its_data_along_except_what_is_kept() {
        let gone = |kind: KindId, seen: Value| {
            let object = Observed {
                kind,
                id: "x".to_owned(),
                address: None,
                fields: fields(seen),
                attributes: std::collections::BTreeMap::new(),
                tags: std::collections::BTreeMap::new(),
                state: crate::snapshot::State::Ready,
            };
            with(&object).concat()
        };
        assert_eq!(gone(KindId::Database, json!({})), "all its data");
        assert_eq!(
            gone(KindId::Database, json!({ "backup_days": 7 })),
            "all its data (a final snapshot stays)"
        );
        assert_eq!(gone(KindId::Secret, json!({ "recovery_days": 0 })), "its value");
        assert_eq!(
            gone(KindId::Secret, json!({ "recovery_days": 7 })),
            "its value (AWS can bring it back for 7 days)"
        );
        assert_eq!(gone(KindId::Role, json!({})), "");
    }
}
