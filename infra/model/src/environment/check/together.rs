//! Checks between environments: ranges that overlap, and two that would fight over the same objects.

use crate::environment::{Loaded, Problem, Problems, Sources};

/// What must hold between several environments, usually all of one folder.
pub fn together(environments: &[Loaded]) -> Problems {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    for (index, later) in environments.iter().enumerate() {
        sources.merge(&later.sources);
        for earlier in &environments[..index] {
            overlap(earlier, later, &mut problems);
            same(earlier, later, &mut problems);
        }
    }
    Problems::new(problems, sources)
}

fn overlap(earlier: &Loaded, later: &Loaded, problems: &mut Vec<Problem>) {
    let (a, b) = (&earlier.environment, &later.environment);
    let (first, second) = (a.network.cidr.0, b.network.cidr.0);
    if first.contains(&second) || second.contains(&first) {
        let message = format!("the range {second} of {} overlaps {first} of {}", b.name, a.name);
        let problem = Problem::error("cidr-overlap", "network.cidr", message)
            .at(later.origins.of("network.cidr"))
            .allowed("ranges that share no address, so that two environments can be peered one day");
        problems.push(problem.related(format!("{} is here", a.name), earlier.origins.of("network.cidr")));
    }
}

fn same(earlier: &Loaded, later: &Loaded, problems: &mut Vec<Problem>) {
    let key = |loaded: &Loaded| {
        let environment = &loaded.environment;
        (environment.account.clone(), environment.project.clone(), environment.name.clone())
    };
    if key(earlier) == key(later) {
        let message = format!(
            "two environments are called \"{}\": they would fight over the same objects",
            later.environment.name
        );
        let problem = Problem::error("duplicate", "name", message).at(later.origins.of("name"));
        problems.push(
            problem
                .allowed("each name once in a project and account")
                .related("the first is here", earlier.origins.of("name")),
        );
    }
}
