//! Engine versions. An environment says `17` and leaves the minor version to AWS, or `17.4` and keeps it. Which of the
//! two an instance does is a setting of its own, AutoMinorVersionUpgrade; so that setting decides how much of the
//! actual version is shown, and an unchanged environment equals its instance even after AWS has upgraded it.

/// Numbers in a whole version: `17.4` of Postgres, `8.0.35` of the others.
fn whole(engine: &str) -> usize {
    if engine == "postgres" { 2 } else { 3 }
}

/// Whether a wanted version leaves the minor version to AWS.
pub(super) fn leaves_minor(engine: &str, wanted: &str) -> bool {
    wanted.split('.').count() < whole(engine)
}

/// The actual version as a snapshot shows it: without its last number where AWS upgrades that by itself.
pub(super) fn shown(engine: &str, actual: &str, auto_minor: bool) -> String {
    let numbers = if auto_minor { whole(engine) - 1 } else { whole(engine) };
    actual.split('.').take(numbers).collect::<Vec<_>>().join(".")
}

/// What a modification must say of the version.
#[derive(Debug, PartialEq)]
pub(super) struct VersionChange {
    /// `None`: the instance runs it already.
    pub to: Option<String>,
    /// RDS wants a major upgrade allowed by name.
    pub major: bool,
    /// `None`: stays as it is.
    pub leaves_minor: Option<bool>,
}

pub(super) fn change(engine: &str, seen: &str, wanted: &str) -> VersionChange {
    if seen == wanted {
        return VersionChange { to: None, major: false, leaves_minor: None };
    }
    let leaves_minor = leaves_minor(engine, wanted);
    let runs_it = shown(engine, seen, leaves_minor) == wanted;
    VersionChange {
        to: (!runs_it).then(|| wanted.to_owned()),
        major: shown(engine, seen, true) != shown(engine, wanted, true),
        leaves_minor: Some(leaves_minor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_shown_as_precisely_as_it_is_kept() {
        assert_eq!(shown("postgres", "17.4", true), "17");
        assert_eq!(shown("postgres", "17.4", false), "17.4");
        assert_eq!(shown("mysql", "8.0.35", true), "8.0");
        assert!(leaves_minor("postgres", "17") && !leaves_minor("postgres", "17.4"));
        assert!(leaves_minor("mysql", "8.0") && !leaves_minor("mysql", "8.0.35"));
    }

    #[test]
    fn a_change_names_the_version_only_when_another_is_needed() {
        let check = |seen, wanted, to: Option<&str>, major, leaves_minor| {
            let expected = VersionChange { to: to.map(str::to_owned), major, leaves_minor };
            assert_eq!(change("postgres", seen, wanted), expected, "{seen} to {wanted}");
        };
        check("17", "17", None, false, None);
        check("17.4", "17", None, false, Some(true));
        check("17", "17.4", Some("17.4"), false, Some(false));
        check("17.4", "17.5", Some("17.5"), false, Some(false));
        check("17", "18", Some("18"), true, Some(true));
        check("16.2", "17.5", Some("17.5"), true, Some(false));
    }
}
