//! Checks of the renames among themselves: each address leaves once and is reached once, and no chain goes round. Owns that;
//! refuses to know which addresses are wanted (the blueprint does).

use crate::environment::problem::Problem;
use crate::environment::types::{Environment, Moved};

use super::Report;

pub(super) fn check(environment: &Environment, report: &mut Report<'_>) {
    let moves = &environment.moved;
    for (index, moved) in moves.iter().enumerate() {
        let path = format!("moved.{index}");
        if moved.from == moved.to {
            let message = format!("`{}` moves to itself", moved.from);
            let problem = Problem::error("not-allowed", format!("{path}.to"), message);
            report.add(problem.allowed("another address"));
            continue;
        }
        let first = |key: fn(&Moved) -> &str| moves[..index].iter().position(|one| key(one) == key(moved));
        if let Some(first) = first(|one| &one.to) {
            let message = format!("two things move to `{}`", moved.to);
            let related = report.known.origins.of(&format!("moved.{first}.to"));
            let problem = Problem::error("duplicate", format!("{path}.to"), message);
            report.add(problem.allowed("each address once").related("the first is here", related));
        }
        if let Some(first) = first(|one| &one.from) {
            let message = format!("`{}` moves twice", moved.from);
            let related = report.known.origins.of(&format!("moved.{first}.from"));
            let problem = Problem::error("duplicate", format!("{path}.from"), message);
            report.add(problem.allowed("each address once").related("the first is here", related));
        }
        // A circle is told once, where it is closed.
        if let Some(circle) = circle(moves, index).filter(|circle| circle.iter().max() == Some(&index)) {
            let names: Vec<&str> = circle.iter().map(|at| moves[*at].from.as_str()).collect();
            let message = format!("`moved` goes round: {} -> {}", names.join(" -> "), moved.from);
            let mut problem = Problem::error("moved-in-a-circle", format!("{path}.to"), message)
                .allowed("addresses that end where something is wanted; two things cannot change places");
            for at in circle.iter().filter(|at| **at != index) {
                problem = problem.related("on the way", report.known.origins.of(&format!("moved.{at}.to")));
            }
            report.add(problem);
        }
    }
}

/// The renames that lead from one back to itself, beginning with it.
fn circle(moves: &[Moved], start: usize) -> Option<Vec<usize>> {
    let mut way = vec![start];
    // A way without repetition is no longer than the list.
    while way.len() <= moves.len() {
        let to = &moves[*way.last()?].to;
        if *to == moves[start].from {
            return Some(way);
        }
        way.push(moves.iter().position(|one| one.from == *to)?);
    }
    None
}
