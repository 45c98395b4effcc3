//! Checks between environments: ranges that overlap, and two that would fight over the same objects.

use ipnet::Ipv4Net;

use crate::environment::{Loaded, Origin, Origins, Problem, Problems, Sources};

/// What an environment is held against others by. A neighbour's file may have faults of its own: what it does not say, or not
/// rightly, is `None` and compared with nothing.
pub(crate) struct Side<'a> {
    /// The outermost file.
    pub file: &'a str,
    pub account: Option<&'a str>,
    pub project: Option<&'a str>,
    pub name: Option<&'a str>,
    pub cidr: Option<Ipv4Net>,
    pub origins: &'a Origins,
}

impl<'a> Side<'a> {
    /// An environment without faults.
    pub fn of(loaded: &'a Loaded) -> Self {
        let environment = &loaded.environment;
        Side {
            file: loaded.chain.first().map_or("", String::as_str),
            account: Some(&environment.account),
            project: Some(&environment.project),
            name: Some(&environment.name),
            cidr: Some(environment.network.cidr.0),
            origins: &loaded.origins,
        }
    }

    /// Whether the value is written in a file that this one builds on, and not in this one.
    fn inherits(&self, path: &str) -> bool {
        self.origins.of(path).is_some_and(|origin| *origin.file != *self.file)
    }

    /// The place to mend: the value, or the beginning of the file that lacks it.
    fn place(&self, path: &str) -> Option<&'a Origin> {
        if self.inherits(path) { self.origins.exact("") } else { self.origins.of(path) }
    }

    /// The name for people; two environments of one name are told apart by their files.
    fn shown(&self, other: &Side<'_>) -> &'a str {
        self.name.filter(|_| self.name != other.name).unwrap_or(self.file)
    }
}

/// What must hold between several environments, usually all of one folder.
pub fn together(environments: &[Loaded]) -> Problems {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    for (index, later) in environments.iter().enumerate() {
        sources.merge(&later.sources);
        for earlier in &environments[..index] {
            between(&Side::of(earlier), &Side::of(later), &mut problems);
        }
    }
    Problems::new(problems, sources)
}

/// What must hold between two environments.
pub(crate) fn between(earlier: &Side<'_>, later: &Side<'_>, problems: &mut Vec<Problem>) {
    overlap(earlier, later, problems);
    same(earlier, later, problems);
}

/// The two in the order "who was first, whose fault": who inherits a value has to write its own.
fn in_order<'a, 'b>(earlier: &'a Side<'b>, later: &'a Side<'b>, path: &str) -> (&'a Side<'b>, &'a Side<'b>) {
    if earlier.inherits(path) && !later.inherits(path) { (later, earlier) } else { (earlier, later) }
}

fn overlap(earlier: &Side<'_>, later: &Side<'_>, problems: &mut Vec<Problem>) {
    let path = "network.cidr";
    let (first, fault) = in_order(earlier, later, path);
    let (Some(taken), Some(range)) = (first.cidr, fault.cidr) else { return };
    if !taken.contains(&range) && !range.contains(&taken) {
        return;
    }
    let (a, b) = (first.shown(fault), fault.shown(first));
    let message = if fault.inherits(path) {
        format!("`{path}` is missing in {}: it inherits {range}, which overlaps {taken} of {a}", fault.file)
    } else {
        format!("the range {range} of {b} overlaps {taken} of {a}")
    };
    let problem = Problem::error("cidr-overlap", path, message)
        .at(fault.place(path))
        .allowed("ranges that share no address, so that two environments can be peered one day");
    problems.push(problem.related(format!("{a} is here"), first.origins.of(path)));
}

fn same(earlier: &Side<'_>, later: &Side<'_>, problems: &mut Vec<Problem>) {
    let said = |one: Option<&str>, other: Option<&str>| one.is_some() && one == other;
    let same = said(earlier.account, later.account) && said(earlier.project, later.project);
    let Some(name) = later.name.filter(|_| same && said(earlier.name, later.name)) else { return };
    let (first, fault) = in_order(earlier, later, "name");
    let fight = "they would fight over the same objects";
    let (message, allowed) = if fault.inherits("name") {
        let stem = fault.file.rsplit('/').next().unwrap_or_default().trim_end_matches(".toml");
        let message = format!(
            "`name` is missing in {}: it inherits \"{name}\", the name of {}, and {fight}",
            fault.file, first.file
        );
        (message, format!("a name of its own, such as `name = \"{stem}\"`"))
    } else {
        let message = format!("{} and {} are both called \"{name}\": {fight}", first.file, fault.file);
        (message, "each name once in a project and account".to_owned())
    };
    let problem = Problem::error("duplicate", "name", message).at(fault.place("name")).allowed(allowed);
    problems.push(problem.related("the other name is here", first.origins.of("name")));
}
