//! Environment files on disk: where they are, and how the model's loader reads them.

use std::path::{Path, PathBuf};

use infra_model::environment::Loader;

/// Where the folders of environments may stand: in this repository, and after `infra init`.
const PLACES: &[(&str, &str)] = &[("infra/environments", "policies/waf"), ("environments", "policies/waf")];

/// Folders of environments and of rule sets: the first place that exists, looking upwards from here.
pub struct Folders {
    pub environments: String,
    pub rule_sets: String,
    /// Whether they are on disk. Where they are not, the shipped environments serve.
    pub found: bool,
}

impl Folders {
    pub fn find() -> Self {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let mut prefix = PathBuf::new();
        // As deep as a checkout may be nested; beyond it the shipped files serve.
        for folder in here.ancestors().take(12) {
            for (environments, rule_sets) in PLACES {
                if folder.join(environments).is_dir() {
                    let text = |path: &str| prefix.join(path).to_string_lossy().into_owned();
                    return Self {
                        environments: text(environments),
                        rule_sets: text(rule_sets),
                        found: true,
                    };
                }
            }
            prefix.push("..");
        }
        Self { environments: "environments".to_owned(), rule_sets: "policies/waf".to_owned(), found: false }
    }

    /// Whether `name` is only a shipped environment although this folder has environments of its own: one that somebody
    /// deleted, or another working directory than was meant.
    pub fn has_not(&self, name: &str) -> bool {
        let path = format!("{}/{name}.toml", self.environments);
        let shipped =
            infra_model::shipped::file(&format!("{}/{name}.toml", infra_model::shipped::ENVIRONMENTS));
        self.found && shipped.is_some() && !Path::new(&path).is_file()
    }

    pub fn loader(&self) -> Loader<'static> {
        Loader {
            environments: self.environments.clone(),
            rule_sets: self.rule_sets.clone(),
            shipped: true,
            read: &read,
            list: &list,
        }
    }
}

fn read(path: &str) -> Result<Option<String>, String> {
    match std::fs::read(path) {
        Ok(bytes) => infra_model::environment::text_of(bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn list(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(Path::new(folder), 0, &mut found);
    found.sort();
    found
}

/// Environments nest one level (`tenants/acme`); four leaves room and keeps a loop of links from running for ever.
fn collect(folder: &Path, depth: usize, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth < 4 {
            collect(&path, depth + 1, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
}
