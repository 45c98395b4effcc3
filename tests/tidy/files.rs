//! The files of the repository, and what each of them must look like whatever it is about.

use std::fs;
use std::path::Path;

use crate::Problem;

pub struct File {
    /// With `/`, from the top of the repository.
    pub name: String,
    pub text: String,
}

impl File {
    pub fn is(&self, extension: &str) -> bool {
        Path::new(&self.name).extension().is_some_and(|found| found == extension)
    }

    pub fn stem(&self) -> &str {
        Path::new(&self.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("")
    }

    pub fn folder(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// Build output and caches: never part of the repository.
const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".venv"];
/// Past this a file is split, or says on top why not (docs/testing.md, "Tidy").
const LINES_MAX: usize = 600;
/// The words that say it, in the first lines of a file.
const EXCUSE: &str = "One file because";

pub fn all(top: &Path) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file() && !SKIPPED.contains(&name.as_str()) {
                // What is not text is not ours to read.
                if let Ok(text) = fs::read_to_string(&path) {
                    let name = path.strip_prefix(top).unwrap().to_string_lossy().replace('\\', "/");
                    found.push(File { name, text });
                }
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() > 20, "the repository at {} looks empty", top.display());
    found
}

pub fn shape(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| !generated(file)) {
        let opens = match () {
            () if file.is("rs") => Some("//!"),
            () if file.is("py") => Some("\"\"\""),
            () => None,
        };
        if let Some(opens) = opens
            && !file.text.starts_with(opens)
        {
            let what = format!("begins with `{opens}`: what it owns, what it refuses to know");
            problems.push(Problem::new(&file.name, what));
        }
        let source = ["rs", "py", "js", "ts", "css", "sh"].iter().any(|extension| file.is(extension));
        let lines = file.text.lines().count();
        let excused = file.text.lines().take(15).any(|line| line.contains(EXCUSE));
        if source && lines > LINES_MAX && !excused {
            let what = format!("{lines} lines: split it, or say `{EXCUSE} ...` in its header");
            problems.push(Problem::new(&file.name, what));
        }
    }
    problems
}

/// Written by a tool from something that is checked instead.
fn generated(file: &File) -> bool {
    file.text.lines().take(3).any(|line| line.contains("@generated"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_header_or_too_long_is_found() {
        let file = |name: &str, text: String| File { name: name.into(), text };
        let long = format!("//! Head.\n{}", "x\n".repeat(LINES_MAX));
        let excused = format!("//! {EXCUSE} the table is one.\n{}", "x\n".repeat(LINES_MAX));
        let files = [
            file("a.rs", "use std::fmt;\n".into()),
            file("b.rs", long),
            file("c.rs", excused),
            file("d.rs", "//! Good.\n".into()),
        ];
        let found: Vec<_> = shape(&files).into_iter().map(|problem| problem.place).collect();
        assert_eq!(found, ["a.rs", "b.rs"]);
    }
}
