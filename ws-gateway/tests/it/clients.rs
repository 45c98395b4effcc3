//! The official SDKs against a real gateway: npm `centrifuge` and PyPI `centrifuge-python`, each in JSON and
//! Protobuf, through connect, token refresh, publications, rpc, presence, history, a cut and a restart.
//!
//! The scripts are under `tests/clients/gateway`; what they need is installed once into the user's cache. A
//! missing node or python fails the test: a client that was not tried is not supported.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use keyway_bus::MemoryBroker;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::gateway::{self, Running};
use crate::tokens::{CORE, unix_s, with_keys};

const KEY: &str = "a-key-of-the-tests-only";

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/gateway")
}

fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME or XDG_CACHE_HOME is set")).join(".cache")
    });
    base.join("keyway/clients-gateway")
}

async fn run(what: &str, command: &mut Command) {
    let output = command.output().await.unwrap_or_else(|error| {
        panic!("{what}: {error}; node 20 with npm and python 3.10 with venv are needed, the test command installs them")
    });
    assert!(
        output.status.success(),
        "{what} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The folder with `node_modules` and the scripts.
async fn node_home() -> &'static PathBuf {
    static HOME: OnceCell<PathBuf> = OnceCell::const_new();
    HOME.get_or_init(async || {
        let home = cache().join("node");
        std::fs::create_dir_all(&home).unwrap();
        let lock = std::fs::read(sources().join("package-lock.json")).unwrap();
        if std::fs::read(home.join("installed")).ok().as_ref() != Some(&lock) {
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(sources().join(file), home.join(file)).unwrap();
            }
            let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
            run("npm ci", Command::new("npm").args(install).current_dir(&home)).await;
            std::fs::write(home.join("installed"), lock).unwrap();
        }
        std::fs::copy(sources().join("client.mjs"), home.join("client.mjs")).unwrap();
        home
    })
    .await
}

/// The interpreter of a virtual environment with the SDK.
async fn python() -> &'static PathBuf {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    PYTHON
        .get_or_init(async || {
            let home = cache().join("python");
            let interpreter = home.join("bin/python");
            let wanted = std::fs::read(sources().join("requirements.txt")).unwrap();
            if std::fs::read(home.join("installed")).ok().as_ref() != Some(&wanted) {
                run("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&home)).await;
                let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
                run(
                    "pip install",
                    Command::new(&interpreter).args(install).arg(sources().join("requirements.txt")),
                )
                .await;
                std::fs::write(home.join("installed"), wanted).unwrap();
            }
            interpreter
        })
        .await
}

async fn restart(running: Running, text: &str) -> Running {
    let broker = running.broker.clone();
    let mut running = running;
    running.stop.notify_one();
    (&mut running.task).await.unwrap();
    let text = format!("listen = \"{}\"\nprivate_listen = \"{}\"\n{text}", running.public, running.private);
    drop(running);
    gateway::start_exactly(broker, &text).await
}

async fn check(mut command: Command, format: &str) {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "drain.window_ms = 1000\nserver_api.key = \"{KEY}\"\n{}\n[limits]\nexpiry_grace_ms = 10000\n",
        with_keys(&directory)
    );
    let broker = MemoryBroker::default();
    let mut running = gateway::start_on(broker, &text).await;
    let now = unix_s();
    let token = |exp: u64| {
        CORE.token(
            now,
            json!({
                "exp": exp, "rpc": ["*"],
                "caps": [{"channels": ["site:*"], "match": "wildcard", "allow": ["sub", "hst", "prs"]}],
            }),
        )
    };
    // The short one is used at once; its refresh comes two seconds later and has ten more to be in time.
    let tokens = json!({"expired": token(now - 10), "short": token(now + 4), "long": token(now + 3600)});
    let mut child = command
        .env("GATEWAY", format!("ws://{}/connection/websocket", running.public))
        .env("API", format!("http://{}", running.private))
        .env("API_KEY", KEY)
        .env("FORMAT", format)
        .env("TOKENS", tokens.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{error}: node and python are needed, the test command installs them")
        });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut steps = Vec::new();
    loop {
        let line = tokio::time::timeout(Duration::from_secs(70), lines.next_line()).await;
        let Some(line) = line.unwrap_or_else(|_| panic!("silent after {steps:?}")).unwrap() else { break };
        let step: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}, after {steps:?}"));
        assert_ne!(step["step"], "failed", "{step}, after {steps:?}");
        if step["step"] == "restart" {
            running = restart(running, &text).await;
        }
        steps.push(step["step"].as_str().unwrap().to_owned());
    }
    let expected =
        ["connected", "publication", "rpc", "history", "refreshed", "recovered", "restart", "done"];
    assert_eq!(steps, expected);
    assert!(child.wait().await.unwrap().success());
}

async fn javascript(format: &str) {
    let home = node_home().await;
    let mut command = Command::new("node");
    command.arg("client.mjs").current_dir(home);
    check(command, format).await;
}

async fn python_sdk(format: &str) {
    let mut command = Command::new(python().await);
    command.arg(sources().join("client.py"));
    check(command, format).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript_json() {
    javascript("json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript_protobuf() {
    javascript("protobuf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_json() {
    python_sdk("json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_protobuf() {
    python_sdk("protobuf").await;
}

/// `docs/asyncapi.yaml` is read by the AsyncAPI project's own parser.
#[tokio::test]
async fn the_asyncapi_document_is_valid() {
    let (from, home) = (sources().join("asyncapi"), cache().join("asyncapi"));
    std::fs::create_dir_all(&home).unwrap();
    let lock = std::fs::read(from.join("package-lock.json")).unwrap();
    for file in ["package.json", "package-lock.json", "validate.mjs"] {
        std::fs::copy(from.join(file), home.join(file)).unwrap();
    }
    if std::fs::read(home.join("installed")).ok().as_ref() != Some(&lock) {
        let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run("npm ci", Command::new("npm").args(install).current_dir(&home)).await;
        std::fs::write(home.join("installed"), lock).unwrap();
    }
    let document =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/asyncapi.yaml").canonicalize().unwrap();
    run("validate.mjs", Command::new("node").arg("validate.mjs").arg(document).current_dir(&home)).await;
}
