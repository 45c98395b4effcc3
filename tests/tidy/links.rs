//! Links between the documents: a relative one leads to a file that is there and a heading that is in it.

use std::path::{Component, Path};

use crate::files::File;
use crate::{Problem, path};

pub fn broken(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (number, line) in outside_code(&file.text) {
            for target in targets(line) {
                if let Some(what) = problem(file, &target) {
                    problems.push(Problem::new(format!("{}:{number}", file.name), what));
                }
            }
        }
    }
    problems
}

fn problem(file: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (to, heading) = target.split_once('#').map_or((target, None), |(to, heading)| (to, Some(heading)));
    let text = if to.is_empty() {
        file.text.clone()
    } else {
        let found = path(&joined(&file.name, to));
        if !found.exists() {
            return Some(format!("leads to `{to}`, which is not there"));
        }
        std::fs::read_to_string(found).unwrap_or_default()
    };
    let heading = heading?;
    let known = outside_code(&text).any(|(_, line)| line.starts_with('#') && anchor(line) == heading);
    (!known).then(|| format!("leads to the heading `#{heading}`, which is not there"))
}

/// `docs/a.md` and `../infra/b.toml` make `infra/b.toml`.
fn joined(from: &str, to: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let folder = Path::new(from).parent().map(Path::to_path_buf).unwrap_or_default();
    for part in folder.join(to).components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts.join("/")
}

/// As the usual Markdown renderers make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn outside_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        (!inside && !fence).then_some((number + 1, line))
    })
}

/// The targets of `[text](target)`, also of pictures.
fn targets(line: &str) -> Vec<String> {
    let parts = line.split("](").skip(1);
    parts.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_missing_heading_are_found() {
        let text = "# One heading\n[a](#one-heading) [b](#other) [c](nowhere.md) [d](https://x.example/y)\n```\n[e](code.md)\n```\n";
        let file = File { name: "docs/x.md".into(), text: text.into() };
        let found: Vec<_> = broken(&[file]).into_iter().map(|problem| problem.what).collect();
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_path_is_joined_as_a_browser_does() {
        assert_eq!(joined("docs/a.md", "../infra/b.toml"), "infra/b.toml");
        assert_eq!(joined("README.md", "docs/a.md"), "docs/a.md");
    }
}
