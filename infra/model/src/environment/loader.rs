//! Where files come from, as a value: the shell passes a function that reads and one that lists, so that this crate needs
//! no file system. Owns the rule which file a name means; refuses to know what stands in it.

use crate::shipped;

use super::origin::Source;

/// How to get at files. Paths use `/`.
pub struct Loader<'a> {
    /// Folder of the environment files, such as `infra/environments`.
    pub environments: String,
    /// Folder of the WAF rule sets, such as `policies/waf`.
    pub rule_sets: String,
    /// Use the files embedded in the program where the folders have none of that name.
    pub shipped: bool,
    /// Read a file: `Ok(None)` when there is none, `Err` with the reason when it cannot be read.
    pub read: &'a dyn Fn(&str) -> Result<Option<String>, String>,
    /// Paths of the `.toml` files below a folder, sorted; empty when there is no such folder.
    pub list: &'a dyn Fn(&str) -> Vec<String>,
}

/// What a look for a file gave.
pub(crate) enum Found {
    File(Source),
    /// Nowhere; these places were looked at.
    Missing(Vec<String>),
    /// A file that is there but cannot be read: path and reason.
    Unreadable(String, String),
}

fn no_file(_: &str) -> Result<Option<String>, String> {
    Ok(None)
}

fn no_files(_: &str) -> Vec<String> {
    Vec::new()
}

impl Loader<'static> {
    /// Only the files embedded in the program.
    pub fn shipped() -> Self {
        Loader {
            environments: shipped::ENVIRONMENTS.to_owned(),
            rule_sets: shipped::RULE_SETS.to_owned(),
            shipped: true,
            read: &no_file,
            list: &no_files,
        }
    }
}

impl Loader<'_> {
    /// The file that `--environment NAME|PATH` means: a path when it ends in `.toml`, else a name in the folder.
    pub(crate) fn environment(&self, name_or_path: &str) -> Found {
        if name_or_path.ends_with(".toml") {
            self.first(vec![name_or_path.to_owned()])
        } else {
            self.first(vec![join(&self.environments, &format!("{name_or_path}.toml"))])
        }
    }

    /// The file that `extends = NAME` in `file` means: beside it, in the folder above, or in the folder of environments.
    pub(crate) fn base(&self, file: &str, name: &str) -> Found {
        let name = if name.ends_with(".toml") { name.to_owned() } else { format!("{name}.toml") };
        let beside = folder(file);
        let mut places = vec![join(beside, &name)];
        for place in [join(folder(beside), &name), join(&self.environments, &name)] {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        self.first(places)
    }

    /// The file of a WAF rule set.
    pub(crate) fn rule_set(&self, name: &str) -> Found {
        self.first(vec![join(&self.rule_sets, &format!("{name}.toml"))])
    }

    /// Names of the environments (and bases) that can be loaded.
    pub fn environment_names(&self) -> Vec<String> {
        self.names(&self.environments, shipped::ENVIRONMENTS)
    }

    /// Names of the WAF rule sets that can be used.
    pub fn rule_set_names(&self) -> Vec<String> {
        self.names(&self.rule_sets, shipped::RULE_SETS)
    }

    /// Names of the environments of the folder itself; those that are shipped only when it has none.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let own: Vec<String> = (self.list)(&self.environments)
            .iter()
            .filter_map(|path| name_in(&self.environments, path))
            .collect();
        if own.is_empty() { self.environment_names() } else { own }
    }

    fn names(&self, folder: &str, shipped_folder: &str) -> Vec<String> {
        let mut names: Vec<String> =
            (self.list)(folder).iter().filter_map(|path| name_in(folder, path)).collect();
        if self.shipped {
            names.extend(shipped::FILES.iter().filter_map(|(path, _)| name_in(shipped_folder, path)));
        }
        names.sort();
        names.dedup();
        names
    }

    fn first(&self, places: Vec<String>) -> Found {
        for place in &places {
            match (self.read)(place) {
                Ok(Some(text)) => return Found::File(Source::new(place, &text)),
                Ok(None) => {}
                Err(reason) => return Found::Unreadable(place.clone(), reason),
            }
        }
        if self.shipped {
            for place in &places {
                if let Some((path, text)) = self.shipped_file(place) {
                    return Found::File(Source::new(path, text));
                }
            }
        }
        Found::Missing(places)
    }

    fn shipped_file(&self, place: &str) -> Option<(&'static str, &'static str)> {
        let beside = |folder: &str, shipped_folder: &str| {
            let rest =
                place.strip_prefix(folder)?.strip_prefix('/').or(folder.is_empty().then_some(place))?;
            shipped::file(&join(shipped_folder, rest))
        };
        beside(&self.environments, shipped::ENVIRONMENTS)
            .or_else(|| beside(&self.rule_sets, shipped::RULE_SETS))
    }
}

fn name_in(folder: &str, path: &str) -> Option<String> {
    let name = path.strip_prefix(folder)?.trim_start_matches('/').strip_suffix(".toml")?;
    Some(name.to_owned())
}

fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
