//! The `infra` program as its user starts it: arguments in, exit status and two streams out. Nothing of its inside.

use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{place, scene};

/// Far above what the slowest run takes (an apply under 30 % throttling); a run that hangs must not hang the tests.
const RUN_S_MAX: u64 = 300;

/// The exit statuses that the program documents.
pub const NOTHING_TO_DO: i32 = 0;
pub const FAILED: i32 = 1;
pub const CHANGES: i32 = 2;
pub const REFUSED: i32 = 3;

pub struct Infra {
    program: PathBuf,
    endpoint_url: String,
    /// Home and working directory: empty, so that no one's credentials or files play a part.
    home: tempfile::TempDir,
}

#[derive(Debug)]
pub struct Run {
    /// `None` when a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    arguments: String,
}

impl Infra {
    pub fn new(endpoint_url: String) -> Result<Self> {
        Ok(Self { program: place::binary("infra")?, endpoint_url, home: tempfile::tempdir()? })
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("AWS_ENDPOINT_URL", &self.endpoint_url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // The emulator shows a change to the next reader; AWS's lag is tested over the account in memory.
            .env("KEYWAY_INFRA_CONSISTENCY_LAG_S", "1")
            .env("NO_COLOR", "1");
        command
    }

    /// A file in the folder the program runs in, for environments that a test writes itself.
    pub fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }

    pub fn run(&self, arguments: &[&str]) -> Result<Run> {
        self.run_telling(arguments, |_| ())
    }

    /// Runs with the command changed first: other variables, other places.
    pub fn run_changed(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Result<Run> {
        let mut command = self.command(arguments);
        change(&mut command);
        self.finish(command, arguments, |_| ())
    }

    /// `started` hears the process id before the first call can have been made.
    pub fn run_telling(&self, arguments: &[&str], started: impl FnOnce(u32)) -> Result<Run> {
        self.finish(self.command(arguments), arguments, started)
    }

    fn finish(&self, mut command: Command, arguments: &[&str], started: impl FnOnce(u32)) -> Result<Run> {
        let began = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let pid = child.id();
        started(pid);
        let output = wait(child, pid, arguments)?;
        Ok(Run {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: began.elapsed(),
            arguments: arguments.join(" "),
        })
    }

    pub fn plan(&self, environment: &str) -> Result<Run> {
        self.run(&["plan", "--environment", environment, "--format", "json"])
    }

    pub fn apply(&self, environment: &str) -> Result<Run> {
        self.run(&["apply", "--environment", environment, "--yes"])
    }

    pub fn destroy(&self, environment: &str) -> Result<Run> {
        let arguments = scene::destroy_arguments(environment);
        self.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn wait(child: Child, pid: u32, arguments: &[&str]) -> Result<Output> {
    let (sender, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(Duration::from_secs(RUN_S_MAX)) {
        Ok(output) => Ok(output?),
        Err(_) => {
            // Its streams hold what it waits for.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            let output = ended.recv().context("the waiting thread ended")??;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`infra {}` did not end within {RUN_S_MAX} s; it said last:\n{said}", arguments.join(" "))
        }
    }
}

impl Run {
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        writeln!(f, "`infra {}` ended with {:?} after {seconds:.1} s", self.arguments, self.status)?;
        writeln!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}
