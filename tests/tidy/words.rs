//! Words that say a thing is unfinished, names that say nothing, and paths of somebody's machine.

use crate::Problem;
use crate::files::File;

/// File names that collect what belongs elsewhere.
const NAMES: [&str; 7] = ["util", "utils", "manager", "helper", "helpers", "common", "handler"];

/// In pieces, so that this file does not contain them.
fn unfinished() -> [String; 4] {
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|[a, b]| format!("{a}{b}"))
}

fn of_a_machine() -> [String; 3] {
    [["/ro", "ot/"], ["/wo", "rk/"], ["/Us", "ers/"]].map(|[a, b]| format!("{a}{b}"))
}

pub fn forbidden(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| !["Cargo.lock", "LICENSE"].contains(&file.name.as_str())) {
        let source = ["rs", "py", "js", "ts"].iter().any(|extension| file.is(extension));
        if source && NAMES.contains(&file.stem()) {
            problems.push(Problem::new(&file.name, "a name that says nothing: name what it does"));
        }
        for (number, line) in file.text.lines().enumerate() {
            let place = || format!("{}:{}", file.name, number + 1);
            for word in unfinished().iter().filter(|word| whole_word(line, word)) {
                problems.push(Problem::new(
                    place(),
                    format!("`{word}`: finish it, or write in docs what is left out"),
                ));
            }
            for path in of_a_machine().iter().filter(|path| absolute(line, path)) {
                problems.push(Problem::new(place(), format!("`{path}...` is a path of one machine")));
            }
        }
    }
    problems
}

fn whole_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        edge(line[..at].chars().next_back()) && edge(line[at + word.len()..].chars().next())
    })
}

/// An absolute path, but not the middle of one, nor a URL's.
fn absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-./}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_and_near_misses_are_not() {
        let [todo, ..] = unfinished();
        let [_, work, _] = of_a_machine();
        let text =
            format!("// {todo}: later\nmasTO{todo}n\ncd {work}main\nhttps://x.example{work}\nhome{work}\n");
        let files = [
            File { name: "src/utils.rs".into(), text },
            File { name: "src/outbox.rs".into(), text: "fn handler() {}".into() },
        ];
        let found: Vec<_> = forbidden(&files).into_iter().map(|problem| problem.place).collect();
        assert_eq!(found, ["src/utils.rs", "src/utils.rs:1", "src/utils.rs:3"]);
    }
}
