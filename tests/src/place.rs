//! Where things are: the clone, the cache beside it, the binaries. It reads the environment; nothing else here does.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The clone this runs for. Cargo says so when it runs something; what was compiled in may name another clone, as one
/// target directory serves several.
pub fn repository() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&told).parent().expect("the package lies in a folder of the clone").to_path_buf()
}

/// `${XDG_CACHE_HOME:-~/.cache}/keyway`: what may be thrown away and is slow to get again.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("keyway"))
}

/// The one target directory that `tests/run` and the demo share, so that the AWS SDKs are compiled once.
pub fn target() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(target) => Ok(PathBuf::from(target)),
        None => Ok(cache()?.join("target")),
    }
}

/// Cargo, in the clone. What the cargo that runs this has set for its own package is taken away: build scripts look at it
/// (`ring`'s does), and another value builds them, and every AWS SDK that stands on them, again.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    for (name, _) in std::env::vars_os() {
        let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(own) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// What cargo is asked for when only the programs are wanted. The whole workspace and a test target are named so that features
/// are unified as for `cargo test --workspace`: another selection would compile the AWS SDKs a second time.
pub const BUILD_PROGRAMS: [&str; 12] = [
    "build",
    "--workspace",
    "--bin",
    "infra",
    "--bin",
    "app-core",
    "--bin",
    "door",
    "--bin",
    "phone",
    "--test",
    "tidy",
];

/// When only `infra` is wanted, with the same features.
pub const BUILD_INFRA: [&str; 6] = ["build", "--workspace", "--bin", "infra", "--test", "tidy"];

/// When only the door's part is wanted: a minute or two, and none of the AWS SDKs.
pub const BUILD_DOOR: [&str; 6] = ["build", "--package", "app-core", "--package", "keyway-devices", "--bins"];

/// A program of this repository: in `KEYWAY_BIN_DIR`, or where cargo put it beside the running test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut tried = Vec::new();
    if let Some(folder) = std::env::var_os("KEYWAY_BIN_DIR") {
        tried.push(PathBuf::from(folder).join(name));
    } else {
        let own = std::env::current_exe().context("the path of this executable")?;
        // target/debug/deps/e2e-123 or target/debug/demo
        tried.extend(own.ancestors().skip(1).take(2).map(|folder| folder.join(name)));
    }
    match tried.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!(
            "no binary `{name}` in {tried:?}: build it (cargo build --workspace --bin {name} --test tidy) or set KEYWAY_BIN_DIR"
        ),
    }
}
