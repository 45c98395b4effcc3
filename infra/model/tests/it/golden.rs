//! Golden files: what a program printed once, looked at by a person, and must print again. `UPDATE_GOLDENS=1` writes them.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the package that cargo tests; what was compiled in may be another clone's.
pub fn package() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap())
}

/// The folder of the goldens.
pub fn folder() -> PathBuf {
    package().join("tests/golden")
}

/// Hold a text against its golden file.
pub fn check(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::create_dir_all(path.parent().expect("goldens are in a folder")).unwrap();
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return;
    }
    let (mut line, mut lines) = (1, expected.lines().zip(actual.lines()));
    while lines.next().is_some_and(|(expected, actual)| expected == actual) {
        line += 1;
    }
    let at = |text: &str| text.lines().nth(line - 1).unwrap_or("(the end)").to_owned();
    panic!(
        "{} differs from line {line} on\n  expected: {}\n  actual:   {}\nUPDATE_GOLDENS=1 writes what is printed now.\n\n{actual}",
        path.display(),
        at(&expected),
        at(actual),
    );
}
