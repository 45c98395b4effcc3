//! Real processes on free ports: gateways as they are deployed, and a `redis-server` that tests may kill.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ws_gateway::config::PREFIX;

use crate::raw::{Raw, Seen, try_open};

/// For anything that should be a matter of milliseconds, on a machine that builds something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

pub const API_KEY: &str = "a-key-of-the-tests-only";

pub fn free_port() -> u16 {
    // Below 55,536, because a server of a cluster also listens 10,000 above.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn wait_for_port(what: &str, port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not listen on {port}");
        std::thread::yield_now();
    }
}

pub struct Redis {
    pub port: u16,
    folder: TempDir,
    child: Child,
    arguments: &'static [&'static str],
}

impl Redis {
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    pub fn start_with(arguments: &'static [&'static str]) -> Redis {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let child = Redis::spawn(port, folder.path(), arguments);
        Redis { port, folder, child, arguments }
    }

    fn spawn(port: u16, folder: &Path, arguments: &[&str]) -> Child {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; the test command installs it"));
        wait_for_port("redis-server", port);
        child
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A sentinel that watches the master on `port` under the name `main` and decides alone.
    pub fn sentinel(port: u16) -> Redis {
        let folder = tempfile::tempdir().unwrap();
        let watch = format!("sentinel monitor main 127.0.0.1 {port} 1\n");
        let timing = "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n";
        std::fs::write(folder.path().join("sentinel.conf"), watch + timing).unwrap();
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["sentinel.conf", "--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_port("the sentinel", port);
        Redis { port, folder, child, arguments: &[] }
    }

    pub fn cli(&self, arguments: &[&str]) {
        self.ask(arguments);
    }

    /// What `redis-cli` says.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As if its machine were frozen: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// With what it had written, or with an empty disk.
    pub fn start_again(&mut self, with_data: bool) {
        if !with_data {
            self.folder = tempfile::tempdir().unwrap();
        }
        self.child = Redis::spawn(self.port, self.folder.path(), self.arguments);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub struct GatewayProcess {
    pub public: SocketAddr,
    pub private: SocketAddr,
    redis: String,
    extra: Vec<(String, String)>,
    child: Child,
}

pub fn gateway_command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ws-gateway"));
    command.env_clear();
    for (name, value) in variables {
        command.env(format!("{PREFIX}{name}"), value);
    }
    command
}

impl GatewayProcess {
    /// `extra` are variables without their prefix.
    pub fn start_with(redis: &str, extra: &[(&str, &str)]) -> GatewayProcess {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (public, private) = (address(), address());
        let extra: Vec<(String, String)> =
            extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let child = GatewayProcess::spawn(public, private, redis, &extra);
        GatewayProcess { public, private, redis: redis.to_owned(), extra, child }
    }

    fn spawn(public: SocketAddr, private: SocketAddr, redis: &str, extra: &[(String, String)]) -> Child {
        let mut command = gateway_command(&[
            ("LISTEN", &public.to_string()),
            ("PRIVATE_LISTEN", &private.to_string()),
            ("INSECURE", "true"),
            ("BUS__KIND", "redis"),
            ("BUS__URL", redis),
            ("SERVER_API__KEY", API_KEY),
            ("DRAIN__WINDOW_MS", "2000"),
            ("LOG__FILTER", "error"),
        ]);
        command.envs(extra.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)));
        let child = command.spawn().unwrap();
        wait_for_port("the gateway", public.port());
        child
    }

    /// The end of a machine: no close frames.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A deploy: SIGTERM, drain, exit 0.
    pub fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a drained gateway exits with 0: {status}");
    }

    pub fn start_again(&mut self) {
        self.child = GatewayProcess::spawn(self.public, self.private, &self.redis, &self.extra);
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn the_command_line() {
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = gateway_command(variables).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run(&["--help"], &[]);
    assert!(code == 0 && text.contains("ws-gateway --config gateway.toml --check-config"), "{text}");
    assert_eq!(run(&["--insecure", "--check-config"], &[]).0, 0);
    let (code, text) =
        run(&["--check-config"], &[("LIMITS__CHANNELS_MAX", "0"), ("DRAIN__WINDOW_MS", "999999")]);
    assert_eq!(code, 2, "{text}");
    for fault in ["limits.channels_max = 0", "drain.window_ms = 999999", "nobody could connect"] {
        assert!(text.contains(fault), "{fault} is not in\n{text}");
    }
    let (code, text) = run(&["--insecure", "--check-config"], &[("LISTEN", "0.0.0.0:8000")]);
    assert!(code == 2 && text.contains("only a loopback address"), "{text}");
    let (code, text) = run(&["--config", "/nowhere/gateway.toml"], &[]);
    assert!(code == 2 && text.contains("/nowhere/gateway.toml"), "{text}");
    for (variable, value, wanted) in [
        ("LOG__FILTER", "a=b=c", "log.filter"),
        ("BUS__URL", "cache:6379", "bus.url"),
        ("TOKENS__JWKS_FILE", "/nowhere/keys.json", "tokens.jwks_file: reading /nowhere/keys.json"),
        ("LIMITS__CHANNELS_MAX", "many", "KEYWAY_GATEWAY_LIMITS__CHANNELS_MAX: invalid type"),
    ] {
        let sound = [("BUS__KIND", "redis"), ("BUS__URL", "redis://x"), ("LISTEN", "127.0.0.1:0")];
        let variables = [&sound[..], &[(variable, value)]].concat();
        let (code, text) = run(&["--insecure", "--check-config"], &variables);
        assert!(code == 2 && text.contains(wanted), "{variable}: {text}");
    }
}

/// Exactly the variables that a service is given by its environment, and the path that its load balancer asks.
#[test]
fn started_as_the_platform_starts_it() {
    let redis = Redis::start_with(&["--requirepass", "hunter2"]);
    let public = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let command = |password: &str| {
        let mut command = gateway_command(&[
            ("LISTEN", &public.to_string()),
            ("PRIVATE_LISTEN", "127.0.0.1:0"),
            ("INSECURE", "true"),
            ("LOG__FILTER", "debug"),
        ]);
        command.env("REDIS_URL", redis.url()).env("REDIS_PASSWORD", password);
        command.env("KEYWAY_ENVIRONMENT", "staging").env("KEYWAY_SERVICE", "gateway");
        command
    };
    let refused = command("letmein").output().unwrap();
    let said = String::from_utf8([refused.stdout, refused.stderr].concat()).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("connecting to Redis") && !said.contains("letmein"), "{said}");

    let mut child = command("hunter2").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_port("the gateway", public.port());
    let begun = Instant::now();
    while !ask(public, "/health/ready").starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < PATIENCE, "{}", ask(public, "/health/ready"));
    }
    // Any user on a read-only file system will do: beside sockets and pipes it has nothing open.
    let open: Vec<std::path::PathBuf> = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.is_absolute() && !target.starts_with("/dev"))
        .collect();
    assert_eq!(open, Vec::<std::path::PathBuf>::new(), "files");
    child.kill().unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("listening") && !said.contains("hunter2"), "{said}");
}

/// Whatever a client does wrong is one line in the log, and nothing of what it sent stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_logged_once_and_without_its_bytes() {
    let public = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut child = gateway_command(&[
        ("LISTEN", &public.to_string()),
        ("PRIVATE_LISTEN", "127.0.0.1:0"),
        ("TOKENS__HMAC_SECRET", "a secret of the tests, 32 bytes long"),
    ])
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    tokio::task::block_in_place(|| wait_for_port("the gateway", public.port()));
    let long = "hush-hush".repeat(9_000);
    for (frame, code) in [
        (r#"{"id":1,"connect":"hush-hush"}"#, 3501),
        (r#"{"id":1,"connect":{"token":"hush-hush.a.b"}}"#, 3500),
        (&*long, 1009),
    ] {
        let mut raw = Raw::open(public).await;
        raw.send(frame).await;
        assert!(matches!(raw.end().await, Seen::Close(given, _) if given == code), "{code}");
    }
    let refused = try_open(public, "/connection/websocket?token=hush-hush", "").await.err();
    assert_eq!(refused, Some(400));
    child.kill().unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(!said.contains("hush-hush"), "{said}");
    for part in ["\"code\":3501", "\"code\":3500", "\"code\":1009", "\"status\":400"] {
        assert_eq!(said.matches(part).count(), 1, "{part} in {said}");
    }
}

/// A deploy may be taken back while a task is still looking for its Redis: the signal is heard all the same.
#[test]
fn a_stop_before_the_start_is_over() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let mut child = gateway_command(&[
        ("LISTEN", "127.0.0.1:0"),
        ("PRIVATE_LISTEN", "127.0.0.1:0"),
        ("INSECURE", "true"),
        ("BUS__KIND", "redis"),
        ("BUS__URL", &url),
    ])
    .spawn()
    .unwrap();
    // It asks Redis, so that it is surely under way, and gets no answer.
    let _asked = silent.accept().unwrap();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "not killed by the signal: {status}");
}

/// The drain of a node with open sockets takes its window; a second signal does not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_drain() {
    let public = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut child = gateway_command(&[
        ("LISTEN", &public.to_string()),
        ("PRIVATE_LISTEN", "127.0.0.1:0"),
        ("INSECURE", "true"),
    ])
    .spawn()
    .unwrap();
    tokio::task::block_in_place(|| wait_for_port("the gateway", public.port()));
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(Raw::connected(public).await);
    }
    let signal = || {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    };
    signal();
    let begun = Instant::now();
    while !tokio::task::block_in_place(|| ask(public, "/health/ready")).contains("draining") {
        assert!(begun.elapsed() < PATIENCE, "not draining");
    }
    signal();
    let status = tokio::task::block_in_place(|| child.wait()).unwrap();
    assert_eq!(status.code(), Some(1), "ended by itself, before its window was over");
}

pub fn ask(address: SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
