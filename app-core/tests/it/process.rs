//! The program as its user meets it: help, a configuration that is checked, a start and an end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

fn core() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app-core"));
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("KEYWAY_") || name.contains("SIGNING_KEY"))
    {
        command.env_remove(name);
    }
    command
}

/// Any free ports.
const ANYWHERE: [(&str, &str); 4] = [
    ("KEYWAY_CORE_LISTEN", "127.0.0.1:0"),
    ("KEYWAY_CORE_PRIVATE_LISTEN", "127.0.0.1:0"),
    ("KEYWAY_CORE_EMBEDDED__GATEWAY_LISTEN", "127.0.0.1:0"),
    ("KEYWAY_CORE_EMBEDDED__GATEWAY_PRIVATE_LISTEN", "127.0.0.1:0"),
];

fn told(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_configuration_is_checked_all_at_once() {
    let (status, text) = told(core().args(["--check-config"]));
    assert_eq!(status, Some(2));
    assert!(text.contains("keys.root_secret (TOKEN_SIGNING_KEY)"), "{text}");
    let secret = "0123456789abcdef0123456789abcdef";
    let (status, text) = told(
        core()
            .args(["serve", "--check-config"])
            .env("TOKEN_SIGNING_KEY", secret)
            .env("KEYWAY_CORE_TOKENS__LIFE_S", "1")
            .env("KEYWAY_CORE_LOG__FILTER", "!!!")
            .env("KEYWAY_CORE_STORE__URL", "mysql://x"),
    );
    assert_eq!(status, Some(2));
    assert!(text.contains("tokens.life_s = 1") && text.contains("store.url"), "{text}");
    assert!(text.contains("log.filter"), "{text}");
    assert!(!text.contains(secret), "{text}");
    let (status, text) = told(core().args(["--check-config"]).env("TOKEN_SIGNING_KEY", secret));
    assert_eq!((status, text.trim()), (Some(0), "the configuration is sound"));
    let port = [("POSTGRES_HOST", "db"), ("POSTGRES_PORT", "x"), ("TOKEN_SIGNING_KEY", secret)];
    let (status, text) = told(core().args(["--check-config"]).envs(port));
    assert_eq!(status, Some(2));
    assert!(text.contains("store.url: expected `postgres://"), "{text}");
    let (status, text) = told(core().arg("--help"));
    assert_eq!(status, Some(0));
    for word in ["app-core --embedded", "--check-config", "migrate", "backup", "audit verify", "Exit codes"] {
        assert!(text.contains(word), "{word} is not in the help:\n{text}");
    }
}

#[test]
fn an_embedded_core_starts_from_nothing_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut child = core()
        .args(["serve", "--embedded", "--data"])
        .arg(&data)
        .envs(ANYWHERE)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let listening = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {said}");
        said.push_str(&line);
        let entry: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON lines");
        if entry["message"] == "listening" {
            break entry;
        }
    };
    assert_eq!(listening["embedded"], true);
    let socket_url = listening["socket_url"].as_str().unwrap();
    assert!(!socket_url.contains(":8000/") && !socket_url.contains(":0/"), "where it listens: {socket_url}");
    let (status, text) = told(core().args(["serve", "--embedded", "--data"]).arg(&data).envs(ANYWHERE));
    assert_eq!(status, Some(1), "a second core on the same file: {text}");
    assert!(text.contains("another core runs on this file"), "{text}");
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    log.read_to_string(&mut said).unwrap();
    for file in ["root-secret", "admin-key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = data.join(file);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        let secret = std::fs::read_to_string(&path).unwrap();
        assert!(!said.contains(secret.trim()), "{file} is in the log");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let database = std::fs::metadata(data.join("keyway.db")).unwrap().permissions().mode() & 0o777;
    assert_eq!(database, 0o600, "names and sealed keys are in it, wherever it lies");
    let (status, text) =
        told(core().args(["backup", "--data"]).arg(&data).arg(folder.path().join("b.ndjson")));
    assert_eq!(status, Some(0), "{text}");
}

/// What a user mistypes, and what they are told: which file or field, where, and an exit code that tells the two apart.
#[test]
fn wrong_input_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("garbage"), "this is no backup\n").unwrap();
    std::fs::write(place("core.toml"), "nonsense = 1\n[tokens]\nlife_s = \"x\"\n").unwrap();
    let (nobody, no_backup, nowhere) = (place("nobody"), place("missing.ndjson"), place("none"));
    let tenant = "ten_01m7xscbq8fybrc31ynzza5y8g";
    for (arguments, status, wanted) in [
        (vec!["restore", "--data", &nobody, &no_backup], 1, vec!["missing.ndjson", "No such file"]),
        (
            vec!["restore", "--data", &nobody, &place("garbage")],
            1,
            vec!["garbage", "line 1", "header of a backup"],
        ),
        (vec!["backup", "--data", &nowhere, &place("b")], 1, vec!["none/keyway.db", "cannot be reached"]),
        (
            vec!["audit", "export", "--data", &nowhere, "--tenant", tenant, &place("a")],
            1,
            vec!["none/keyway.db"],
        ),
        (vec!["audit", "export", "--tenant", "ten_x", &place("a")], 2, vec!["ten_x", "--tenant"]),
        (vec!["audit", "verify", &place("garbage")], 1, vec!["garbage", "line 1"]),
        (vec!["audit", "verify", &no_backup], 1, vec!["missing.ndjson"]),
        (vec!["frobnicate"], 2, vec!["frobnicate"]),
        (
            vec!["--config", &place("core.toml"), "--check-config"],
            2,
            vec!["nonsense", "life_s", "TOKEN_SIGNING_KEY"],
        ),
    ] {
        let (found, text) = told(core().args(&arguments));
        assert_eq!(found, Some(status), "{arguments:?}: {text}");
        for word in wanted {
            assert!(text.contains(word), "{arguments:?}: no {word} in {text}");
        }
    }
    assert!(!std::path::Path::new(&nowhere).exists(), "a verb that reads makes no folder");
}
