//! A real Postgres in a temporary folder, as an unprivileged user, on a unix socket. Owns its start and its end: it stops
//! when it is dropped, on a panic too, and when the process is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

/// A cluster may wait for two cores that build something else.
const START_MAX: Duration = Duration::from_secs(60);

pub struct Postgres {
    dir: PathBuf,
    stop: mpsc::Sender<()>,
    /// In a lock because servers are shared by tests in several threads.
    stopped: Mutex<mpsc::Receiver<()>>,
    pub pid: u32,
    durable: bool,
}

fn binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(versions.map(|version| version.path().join("bin")));
    // PATH may hold links to single programs: follow them to where all of them are.
    let found = places.iter().map(|place| place.join("initdb")).find(|program| program.is_file());
    let found = found.expect("initdb is needed for these tests: Debian's package is `postgresql`");
    found.canonicalize().unwrap().parent().unwrap().to_owned()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A command of Postgres. It refuses to run as root; then it runs as its own user, and dies with the thread that began
/// it.
fn command(program: &str) -> Command {
    let program = binaries().join(program);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=QUIT", "--"])
        .arg(program);
    command
}

fn give_to_postgres(dir: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("postgres:postgres").arg(dir).status().unwrap();
        assert!(status.success(), "chown {}", dir.display());
    }
}

impl Postgres {
    /// Without syncs: what these tests kill is a client, or the server, and never the machine.
    pub fn start() -> Self {
        Self::with_durability(false)
    }

    /// As in production, for measurements.
    #[allow(dead_code)] // this file is a module of more than one program
    pub fn durable() -> Self {
        Self::with_durability(true)
    }

    fn with_durability(durable: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("keyway-pg").tempdir().unwrap().keep();
        give_to_postgres(&dir);
        let made = command("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(dir.join("data"))
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let (pid, stop, stopped) = Self::run(&dir, durable);
        let mut cluster = Self { dir, stop, stopped, pid, durable };
        cluster.wait_ready();
        cluster
    }

    /// A thread of its own begins the server and stays: the server ends with that thread, however it ends.
    fn run(dir: &Path, durable: bool) -> (u32, mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>) {
        let (stop, told) = mpsc::channel::<()>();
        let (done, stopped) = mpsc::channel();
        let (started, begun) = mpsc::channel();
        let dir = dir.to_owned();
        std::thread::spawn(move || {
            let on = if durable { "on" } else { "off" };
            let mut server = command("postgres")
                .arg("-D")
                .arg(dir.join("data"))
                .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB"])
                .args(["-c", &format!("fsync={on}"), "-c", &format!("full_page_writes={on}")])
                .args(["-c", &format!("unix_socket_directories={}", dir.display())])
                .stdout(Stdio::null())
                .stderr(fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap())
                .spawn()
                .expect("postgres starts");
            started.send(server.id()).unwrap();
            // Stop, or the handle was dropped.
            let _ = told.recv();
            Self::end(&mut server);
            let _ = done.send(());
        });
        (begun.recv().expect("the server's thread runs"), stop, Mutex::new(stopped))
    }

    fn end(server: &mut Child) {
        let pid = server.id().to_string();
        // A paused server hears nothing until it goes on. QUIT: at once, without farewells to its clients.
        for signal in ["-CONT", "-QUIT"] {
            let _ = Command::new("kill").args([signal, &pid]).status();
        }
        let _ = server.wait();
    }

    fn wait_ready(&mut self) {
        let until = Instant::now() + START_MAX;
        while !self.sql_in("postgres", "SELECT 1").0 {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "postgres did not become ready:\n{log}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn sql_in(&self, database: &str, sql: &str) -> (bool, String) {
        let out = command("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
                "-h",
            ])
            .arg(&self.dir)
            .output()
            .expect("psql starts");
        let text = if out.status.success() { out.stdout } else { out.stderr };
        (out.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// Runs SQL in a database; answers what it prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let (done, text) = self.sql_in(database, sql);
        assert!(done, "{sql}: {text}");
        text
    }

    pub fn url(&self, database: &str) -> String {
        let dir = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{dir}/{database}")
    }

    fn signal(&self, signal: &str) {
        // The server's children serve the connections: the whole family has to stop or go on.
        let family = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (parent == self.pid).then_some(pid)
        });
        let pids: Vec<String> = family.chain([self.pid]).map(|pid| pid.to_string()).collect();
        let _ = Command::new("kill").arg(signal).args(pids).status();
    }

    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    pub fn stop(&mut self) {
        let _ = self.stop.send(());
        let _ = self.stopped.lock().unwrap().recv();
    }

    pub fn start_again(&mut self) {
        (self.pid, self.stop, self.stopped) = Self::run(&self.dir, self.durable);
        self.wait_ready();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
