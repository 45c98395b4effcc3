//! The architecture as a test: layering, purity, size, headers, words, links. Reads files, runs nothing, needs no network.
//!
//! Each check returns every problem it finds, with file, line and what to do; all are printed at once.
#![allow(clippy::unwrap_used, reason = "a test says with a panic that it failed")]

mod crates;
mod files;
mod links;
mod source;
mod words;

use std::path::PathBuf;

use e2e::place;

/// One thing that is not as the house rules say.
struct Problem {
    place: String,
    what: String,
}

impl Problem {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

#[track_caller]
fn check(problems: Vec<Problem>) {
    let told: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", problem.place, problem.what)).collect();
    assert!(problems.is_empty(), "{} problem(s)\n{}\n", problems.len(), told.join("\n"));
}

/// Everything of the repository that git would take: no build output, no caches.
fn tree() -> Vec<files::File> {
    files::all(&place::repository())
}

fn path(relative: &str) -> PathBuf {
    place::repository().join(relative)
}

#[test]
fn crates_depend_downwards_only() {
    check(crates::directions(&crates::manifests(&tree())));
}

#[test]
fn pure_crates_name_nothing_impure() {
    check(crates::purity(&crates::manifests(&tree()), &tree()));
}

#[test]
fn each_library_is_named_where_it_belongs() {
    check(source::layering(&tree()));
}

#[test]
fn every_kind_has_its_files() {
    check(source::kinds(&tree()));
}

#[test]
fn files_have_a_header_and_a_size() {
    check(files::shape(&tree()));
}

#[test]
fn no_forbidden_words() {
    check(words::forbidden(&tree()));
}

#[test]
fn links_lead_somewhere() {
    check(links::broken(&tree()));
}
