//! Checks of the tags that go on every object: how many, how long, of which characters. (Forms of keys are `format`'s.)

use crate::environment::format;
use crate::environment::origin::Path;
use crate::environment::problem::Problem;
use crate::environment::types::Environment;

use super::Report;

/// Tags of one object (AWS tagging guide, "Tag naming limits and requirements"), less those that infra may write itself: the
/// `keyway:` ones of project, environment, address, protection and generation, and `Name`.
const TAGS_MAX: usize = 50 - 6;
/// Characters of a value; same source.
const VALUE_CHARS_MAX: usize = 256;

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    let tags = &environment.tags;
    if tags.len() > TAGS_MAX {
        let message =
            format!("{} tags are more than an object of AWS can have beside infra's own", tags.len());
        report.add(Problem::error("wrong-length", "tags", message).allowed(format!("at most {TAGS_MAX}")));
    }
    for (key, value) in tags {
        let path = Path(vec!["tags".to_owned(), key.clone()]).to_string();
        let length = value.chars().count();
        if length > VALUE_CHARS_MAX {
            let message = format!("the value of the tag `{key}` has {length} characters");
            let allowed = format!("at most {VALUE_CHARS_MAX}");
            report.add(Problem::error("wrong-length", &path, message).allowed(allowed));
        }
        if let Some(strange) = value.chars().find(|c| !format::tag_character(*c)) {
            let message =
                format!("the value of the tag `{key}` holds {strange:?}, which IAM and others refuse");
            let allowed = "letters, digits, spaces and + - = . _ : / @";
            report.add(Problem::error("bad-form", &path, message).allowed(allowed));
        }
    }
}
