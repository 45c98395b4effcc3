//! The AWS emulator as a process: its cached Python environment, its start on a free port, its end with its owner.
//!
//! What it emulates is in `tests/emulator`; this only gets it and runs it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::{http, place};

/// It starts in two seconds, and in more than sixty where a dozen builds want the same two cores.
const START_S_MAX: u64 = 240;
/// The oldest Python that the pinned packages support.
const PYTHON_MINOR_MIN: u32 = 10;

/// What fetching tells while it goes on.
pub enum Step<'a> {
    Environment(&'a Path),
    Package { number: usize, of: usize, name: &'a str },
}

pub struct Emulator {
    process: Child,
    address: String,
    /// What it wrote to its standard error; removed with it.
    complaints: tempfile::NamedTempFile,
}

impl Emulator {
    /// Fetches what is missing, starts it, returns once it answers.
    pub fn start(told: &mut dyn FnMut(Step<'_>)) -> Result<Self> {
        let python = python(told)?;
        let complaints = tempfile::NamedTempFile::new()?;
        let mut process = Command::new(&python)
            .arg("-B")
            .arg(folder().join("serve.py"))
            .args(["--port", "0", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen()?)
            .spawn()
            .with_context(|| format!("starting the emulator with {}", python.display()))?;
        let output = process.stdout.take().expect("stdout is piped above");
        let mut emulator = Self { process, address: String::new(), complaints };
        let (sender, first_line) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(output).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = first_line.recv_timeout(Duration::from_secs(START_S_MAX)).unwrap_or_default();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        match said["url"].as_str().and_then(|url| url.strip_prefix("http://")) {
            Some(address) => emulator.address = address.to_owned(),
            None => bail!("the emulator did not start within {START_S_MAX} s:\n{}", emulator.complaints()),
        }
        ensure!(http::get(&emulator.address, "/_keyway/ready")?.status() == 200, "the emulator is not ready");
        Ok(emulator)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stack traces of calls that it could not answer: a gap of the emulator, not a fault of the program.
    pub fn complaints(&self) -> String {
        let text = fs::read_to_string(self.complaints.path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It also ends by itself when our end of its standard input closes, so a killed test leaves none behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn folder() -> PathBuf {
    place::repository().join("tests/emulator")
}

/// The interpreter of the cached environment, made first if it is not there. Two processes at once take turns.
pub fn python(told: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf> {
    let requirements = folder().join("requirements.txt");
    let text = fs::read(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let digest: String = Sha256::digest(&text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let cache = place::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let environment = cache.join(format!("emulator-{digest}"));
    let python = environment.join("bin/python");
    let complete = environment.join("complete");
    let lock = File::create(cache.join(format!("emulator-{digest}.lock")))?;
    lock.lock().context("waiting for another process that makes the emulator's environment")?;
    if !complete.is_file() {
        told(Step::Environment(&environment));
        make(&environment, &requirements, String::from_utf8_lossy(&text).lines(), told)?;
        File::create(&complete)?;
    }
    Ok(python)
}

fn make<'a>(
    environment: &Path,
    requirements: &Path,
    lines: impl Iterator<Item = &'a str>,
    told: &mut dyn FnMut(Step<'_>),
) -> Result<()> {
    if environment.exists() {
        fs::remove_dir_all(environment).context("removing an environment that was left half made")?;
    }
    let of = lines.filter(|line| line.contains("==")).count();
    let system = system_python()?;
    let made = Command::new(&system).args(["-m", "venv"]).arg(environment).output()?;
    ensure!(
        made.status.success(),
        "{system} -m venv failed:\n{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
    let mut pip = Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--no-deps", "--no-input", "--disable-pip-version-check", "-r"])
        .arg(requirements)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let errors = pip.stderr.take().expect("stderr is piped above");
    let complaint = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let mut number = 0;
    for line in BufReader::new(pip.stdout.take().expect("stdout is piped above")).lines() {
        let line = line?;
        if let Some(name) = line.strip_prefix("Collecting ") {
            number += 1;
            told(Step::Package { number, of, name: name.split(' ').next().unwrap_or(name) });
        }
    }
    let complaint = complaint.join().unwrap_or_default();
    ensure!(
        pip.wait()?.success(),
        "pip could not fetch the emulator (is the package index reachable?):\n{complaint}"
    );
    Ok(())
}

/// A Python that is new enough and can make environments.
fn system_python() -> Result<String> {
    let asked = "import sys, venv, ensurepip; print(sys.version_info[1])";
    let mut seen = Vec::new();
    for name in ["python3", "python3.13", "python3.12", "python3.11", "python3.10"] {
        let Ok(answer) = Command::new(name).args(["-c", asked]).output() else { continue };
        let minor: u32 = String::from_utf8_lossy(&answer.stdout).trim().parse().unwrap_or(0);
        if answer.status.success() && minor >= PYTHON_MINOR_MIN {
            return Ok(name.to_owned());
        }
        let why = if answer.status.success() {
            format!("is 3.{minor}")
        } else {
            "lacks venv or ensurepip".to_owned()
        };
        seen.push(format!("{name} {why}"));
    }
    let found = if seen.is_empty() { "none found".to_owned() } else { seen.join(", ") };
    bail!(
        "the AWS emulator needs Python 3.{PYTHON_MINOR_MIN} or newer with its venv module ({found}); \
         on Debian and Ubuntu: apt-get install python3 python3-venv; on macOS: brew install python3"
    )
}
