//! A plan for people: grouped by layer, only what changes, why a replacement, what stands still, how long it takes.

use std::fmt::Write;

use serde_json::Value;

use super::{Style, brief};
use crate::address::Address;
use crate::diff::FieldChange;
use crate::graph::Graph;
use crate::kinds::Layer;
use crate::plan::{Action, Plan, Problem, Step};
use crate::snapshot::{Snapshot, Unmanaged};

/// A value longer than this is cut: a plan is read on one screen. `--format json` has it whole.
const VALUE_CHARS_MAX: usize = 100;
/// Field changes shown of one step; a new security group of 200 rules is still one thing to read.
const CHANGES_MAX: usize = 40;
const UNMANAGED_MAX: usize = 20;
/// Enough to see which part of the environment it is.
const WANTING_MAX: usize = 3;

/// The plan as `infra plan` prints it.
pub fn plan_text(plan: &Plan, expected_s: u32, critical_path: &[Address], style: Style) -> String {
    let mut out = String::new();
    let mut layer: Option<Layer> = None;
    for step in &plan.steps {
        let own = step.kind.spec().layer;
        if layer != Some(own) {
            layer = Some(own);
            let _ = writeln!(out, "{}", style.paint("1", layer_name(own)));
        }
        write_step(&mut out, step, style);
    }
    write_left_alone(&mut out, plan, style);
    write_unmanaged(&mut out, &plan.unmanaged, style);
    for problem in &plan.problems {
        let _ = writeln!(out, "{} {}", style.paint("1;31", "!"), problem_text(problem));
    }
    if !plan.problems.is_empty() {
        out.push('\n');
    }
    write_summary(&mut out, plan, expected_s, critical_path, style);
    out
}

fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Identity => "identity and logs",
        Layer::Network => "network",
        Layer::Edge => "edge",
        Layer::Firewall => "firewall",
        Layer::Data => "stores",
        Layer::Compute => "services",
    }
}

fn write_step(out: &mut String, step: &Step, style: Style) {
    let (sign, tone, word) = match step.action {
        Action::Create => ("+", "32", "create"),
        Action::Update => ("~", "33", "update"),
        Action::Replace if step.create_first => ("±", "35", "replace, the new one first"),
        Action::Replace => ("∓", "31", "replace, the old one goes first"),
        Action::Delete => ("-", "31", "delete"),
    };
    let id = step.id.as_deref().map(|id| format!("  {}", style.paint("2", id))).unwrap_or_default();
    let title = step.kind.spec().title;
    let head = style.paint(tone, &format!("{sign} {}", step.address));
    let told =
        if step.action == Action::Create && !style.whole { brief::deciding(step) } else { String::new() };
    let told = if told.is_empty() { told } else { format!("  {}", style.paint("2", &told)) };
    let _ = writeln!(out, "  {head}  {title}: {word}{id}{told}");
    if let Some(former) = &step.moved_from {
        let stays = if step.action == Action::Update { "; the object stays, its tag changes" } else { "" };
        let _ = writeln!(out, "      moved from {former}{stays}");
    }
    for reason in &step.reasons {
        let _ = writeln!(out, "      because {reason}");
    }
    for what in &step.interrupts {
        let _ = writeln!(out, "      {} {what}", style.paint("1;33", "interrupts"));
    }
    for rule in &step.promotions {
        let (tone, word) = if rule.stricter() { ("1;33", "promotes") } else { ("36", "relaxes") };
        let (before, after) = (acts(&rule.before), acts(&rule.after));
        let _ = writeln!(out, "      {} {}: {before} -> {after}", style.paint(tone, word), rule.rule);
    }
    for what in &step.loses {
        let _ = writeln!(out, "      {} {what}", style.paint("1;31", "loses"));
    }
    if step.guarded {
        let _ = writeln!(out, "      {} `--allow-delete {}`", style.paint("1;31", "needs"), step.address);
    }
    // What is created is told in its line; all fields are in `-v`, `--explain` and JSON.
    if step.action != Action::Create || style.whole {
        let shown = if style.whole { usize::MAX } else { CHANGES_MAX };
        for change in step.changes.iter().take(shown) {
            write_change(out, change, style);
        }
        if let Some(more) = step.changes.len().checked_sub(shown).filter(|more| *more > 0) {
            let _ = writeln!(out, "      and {more} more");
        }
    }
}

/// At the end, where it is read last: everything that an apply of this plan would lose.
fn write_losses(out: &mut String, plan: &Plan, style: Style) {
    let losing: Vec<&Step> = plan.steps.iter().filter(|step| !step.loses.is_empty()).collect();
    if losing.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", style.paint("1;31", "Lost for good:"));
    for step in losing {
        let _ = writeln!(out, "  {}: {}", step.address, step.loses.join("; "));
    }
}

/// A managed group that is not overridden does what its own rules say, and those block.
fn acts(action: &str) -> &str {
    if action == "group" { "block (as the group's own rules say)" } else { action }
}

fn write_change(out: &mut String, change: &FieldChange, style: Style) {
    let path = &change.path;
    let line = match (&change.before, &change.after) {
        (None, Some(after)) => style.paint("32", &format!("+ {path}: {}", short(after, style))),
        (Some(before), None) => style.paint("31", &format!("- {path}: {}", short(before, style))),
        (before, after) => {
            let side = |value: &Option<Value>| {
                value.as_ref().map_or_else(|| "nothing".to_owned(), |value| short(value, style))
            };
            format!("~ {path}: {} -> {}", side(before), side(after))
        }
    };
    let mark = if change.replaces { style.paint("35", "  (forces replacement)") } else { String::new() };
    let origin = change.origin.as_ref().map(|origin| style.paint("2", &format!("  from {origin}")));
    let _ = writeln!(out, "      {line}{mark}{}", origin.unwrap_or_default());
}

fn short(value: &Value, style: Style) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        // What is shown whole is shown as it is.
        other => brief::entry(other).filter(|_| !style.whole).unwrap_or_else(|| other.to_string()),
    };
    if style.whole || text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(VALUE_CHARS_MAX).collect();
    format!("{cut}…")
}

fn write_left_alone(out: &mut String, plan: &Plan, style: Style) {
    if plan.left_alone.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", style.paint("1", "left to their owners"));
    for (address, change) in &plan.left_alone {
        let owner = change.owner.as_deref().unwrap_or("somebody else");
        let there = change.before.as_ref().map(|value| short(value, style)).unwrap_or_default();
        let _ = writeln!(out, "  = {address}  {} is {there}, owned by {owner}", change.path);
    }
}

fn write_unmanaged(out: &mut String, unmanaged: &[Unmanaged], style: Style) {
    if unmanaged.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", style.paint("1", "not managed, but inside what is ours (never touched)"));
    for object in unmanaged.iter().take(UNMANAGED_MAX) {
        let name = object.name.as_deref().map(|name| format!(" `{name}`")).unwrap_or_default();
        let _ = writeln!(out, "  ? {} {}{name} in {}", object.what, object.id, object.within);
    }
    if let Some(more) = unmanaged.len().checked_sub(UNMANAGED_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "  and {more} more");
    }
}

fn problem_text(problem: &Problem) -> String {
    match problem {
        Problem::Duplicate { address, kind, objects } => {
            let mut text = format!("{} objects claim {address} ({}):", objects.len(), kind.spec().title);
            for object in objects {
                let by = if object.referred_by.is_empty() {
                    "nothing refers to it".to_owned()
                } else {
                    format!("{} refer to it", object.referred_by.join(", "))
                };
                let _ = write!(text, "\n      {}: {by}", object.id);
            }
            text + "\n      `infra forget ID` lets one of them go; nothing is guessed"
        }
        Problem::Incomplete { kind, reason } => {
            format!(
                "{} could not be read ({reason}); nothing of that kind is created or deleted",
                kind.spec().title
            )
        }
        Problem::Missing { what, id, origin, wanted_by } => {
            let origin = origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
            let named: Vec<&str> = wanted_by.iter().take(WANTING_MAX).map(Address::as_str).collect();
            let more = wanted_by.len().saturating_sub(WANTING_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "there is no {what} {id} in this account{origin}, needed by {}{more}: correct the id; `infra destroy` works without it",
                named.join(", ")
            )
        }
        Problem::Guarded { address, kind, id, store } => {
            let what = if *store { "holds data" } else { "is protected" };
            format!(
                "{address} ({} {id}) {what}: allow its deletion with `--allow-delete {address}`",
                kind.spec().title
            )
        }
        Problem::Graph { message } | Problem::NoOrder { message } => message.clone(),
    }
}

fn write_summary(out: &mut String, plan: &Plan, expected_s: u32, critical_path: &[Address], style: Style) {
    if plan.steps.is_empty() {
        let counted = plural(plan.unchanged, "resource");
        let _ = match plan.problems.is_empty() {
            true => writeln!(out, "{} {counted} as wanted.", style.paint("32", "Nothing to do:")),
            false => writeln!(out, "{counted} as wanted; see the problems above."),
        };
        return;
    }
    let parts: Vec<String> = [
        (Action::Create, "to create"),
        (Action::Update, "to update"),
        (Action::Replace, "to replace"),
        (Action::Delete, "to delete"),
    ]
    .into_iter()
    .filter(|(action, _)| plan.count(*action) > 0)
    .map(|(action, words)| format!("{} {words}", plan.count(action)))
    .collect();
    let _ =
        writeln!(out, "{} {}, {} unchanged.", style.paint("1", "Plan:"), parts.join(", "), plan.unchanged);
    write_losses(out, plan, style);
    let path: Vec<&str> = critical_path.iter().map(Address::as_str).collect();
    let _ = writeln!(out, "Expected {}; the longest chain is {}.", duration(expected_s), path.join(" -> "));
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `7 s`, `6 min 10 s`.
fn duration(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s} s"),
        (m, 0) => format!("{m} min"),
        (m, s) => format!("{m} min {s} s"),
    }
}

/// Every wanted value of one address with the place it was written, and what is there now.
pub fn explain(
    address: &Address,
    graph: &Graph,
    snapshot: Option<&Snapshot>,
    style: Style,
) -> Option<String> {
    let wanted = graph.resources.get(address)?;
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", style.paint("1", address.as_str()), wanted.kind.spec().title);
    let observed = snapshot.and_then(|snapshot| snapshot.at(address).next());
    match (snapshot, observed) {
        (Some(_), Some(object)) => {
            let _ = writeln!(out, "  id: {}", object.id);
        }
        (Some(_), None) => out.push_str("  does not exist yet\n"),
        (None, _) => {}
    }
    for (name, value) in &wanted.fields {
        let _ = writeln!(out, "  {name} = {value}");
        let own = wanted.origin_of(name).map(|origin| (name.clone(), origin.to_owned()));
        let nested = wanted.origins.iter().filter(|(path, _)| path.starts_with(&format!("{name}/")));
        let nested = nested.map(|(path, origin)| (path.clone(), origin.clone()));
        for (path, origin) in own.into_iter().chain(nested) {
            let _ = writeln!(out, "      {}", style.paint("2", &format!("{path} from {origin}")));
        }
        if let Some(there) = observed.and_then(|object| object.fields.get(name))
            && crate::diff::canonical(there) != crate::diff::canonical(value)
        {
            let _ = writeln!(out, "      now {there}");
        }
    }
    for (path, owner) in &wanted.owners {
        let _ = writeln!(out, "  {path} is owned by {owner}");
    }
    let after: Vec<&str> = wanted.after.iter().map(Address::as_str).collect();
    if !after.is_empty() {
        let _ = writeln!(out, "  after {}", after.join(", "));
    }
    Some(out)
}
