//! A program as a process that a test may kill, pause and start again. Owns the process and its files; it ends with its
//! owner, also when the owner is killed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A start takes milliseconds; on a machine that compiles something else meanwhile, seconds.
const START_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to start, as often as wanted.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The whole environment: nothing of the test's own comes through.
    pub variables: Vec<(String, String)>,
    /// Standard output and error are appended to `<name>.out` and `<name>.err` in it.
    pub folder: PathBuf,
}

impl Recipe {
    /// The kernel ends the process with the thread that started it, where it can.
    fn command(&self) -> Command {
        let setpriv = Path::new("/usr/bin/setpriv");
        let mut command = if setpriv.exists() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig=KILL", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(&self.arguments).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder);
        command
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    fn append(&self, ending: &str) -> Result<File> {
        let path = self.file(ending);
        OpenOptions::new().create(true).append(true).open(&path).with_context(|| path.display().to_string())
    }
}

pub struct Program {
    pub recipe: Recipe,
    child: Child,
    input: Option<ChildStdin>,
    paused: bool,
}

impl Program {
    pub fn start(recipe: Recipe) -> Result<Self> {
        let (child, input) = Self::spawn(&recipe)?;
        Ok(Self { recipe, child, input, paused: false })
    }

    fn spawn(recipe: &Recipe) -> Result<(Child, Option<ChildStdin>)> {
        let mut child = recipe
            .command()
            .stdin(Stdio::piped())
            .stdout(recipe.append("out")?)
            .stderr(recipe.append("err")?)
            .spawn()
            .with_context(|| format!("starting {}", recipe.program.display()))?;
        let input = child.stdin.take();
        Ok((child, input))
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn signal(&self, signal: &str) {
        // A process that has ended in the meantime needs no signal.
        let _ =
            Command::new("kill").args([signal, &self.child.id().to_string()]).stderr(Stdio::null()).status();
    }

    pub fn pause(&mut self) {
        self.signal("-STOP");
        self.paused = true;
    }

    pub fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.signal("-CONT");
        }
    }

    /// As when its machine loses power: no farewell.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.paused = false;
    }

    pub fn start_again(&mut self) -> Result<()> {
        self.kill();
        (self.child, self.input) = Self::spawn(&self.recipe)?;
        Ok(())
    }

    /// What an orchestrator does: starts it again if it has ended.
    pub fn keep_running(&mut self) -> Result<()> {
        self.resume();
        if self.is_running() { Ok(()) } else { self.start_again() }
    }

    /// A line on its standard input; one that has ended does not hear it.
    pub fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.recipe.file("out")).unwrap_or_default()
    }

    /// The end of what it complained.
    pub fn complaints(&self) -> String {
        let text = std::fs::read_to_string(self.recipe.file("err")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `done`, and says what was seen last when it does not come.
pub fn wait_for(what: &str, within: Duration, mut done: impl FnMut() -> Result<(), String>) -> Result<()> {
    let until = Instant::now() + within;
    loop {
        match done() {
            Ok(()) => return Ok(()),
            Err(seen) if Instant::now() >= until => {
                bail!("{what} did not happen within {within:?}; last seen: {seen}")
            }
            Err(_) => std::thread::park_timeout(LOOK_EVERY),
        }
    }
}

pub fn wait_for_port(what: &str, address: &str) -> Result<()> {
    wait_for(&format!("{what} listening on {address}"), START_MAX, || {
        TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
    })
}

/// A port that nobody uses at this moment.
pub fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
