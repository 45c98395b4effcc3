//! Real processes on free ports: gateways as they are deployed, and a `redis-server` that tests may kill.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// For anything that should be a matter of milliseconds, on a machine that builds something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

pub const API_KEY: &str = "a-key-of-the-tests-only";

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
}

impl Redis {
    pub fn start() -> Redis {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let child = Redis::spawn(port, folder.path());
        Redis { port, folder, child }
    }

    fn spawn(port: u16, folder: &Path) -> Child {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
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

    pub fn cli(&self, arguments: &[&str]) {
        let port = self.port.to_string();
        assert!(
            Command::new("redis-cli")
                .args(["-p", &port])
                .args(arguments)
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// With what it had written, or with an empty disk.
    pub fn start_again(&mut self, with_data: bool) {
        if !with_data {
            self.folder = tempfile::tempdir().unwrap();
        }
        self.child = Redis::spawn(self.port, self.folder.path());
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
    child: Child,
}

pub fn gateway_command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ws-gateway"));
    command.env_clear();
    for (name, value) in variables {
        command.env(format!("KEYWAY_GATEWAY_{name}"), value);
    }
    command
}

impl GatewayProcess {
    pub fn start(redis: &Redis) -> GatewayProcess {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (public, private) = (address(), address());
        let url = redis.url();
        let child = GatewayProcess::spawn(public, private, &url);
        GatewayProcess { public, private, redis: url, child }
    }

    fn spawn(public: SocketAddr, private: SocketAddr, redis: &str) -> Child {
        let child = gateway_command(&[
            ("LISTEN", &public.to_string()),
            ("PRIVATE_LISTEN", &private.to_string()),
            ("INSECURE", "true"),
            ("BUS__KIND", "redis"),
            ("BUS__URL", redis),
            ("SERVER_API__KEY", API_KEY),
            ("DRAIN__WINDOW_MS", "2000"),
            ("LOG__FILTER", "error"),
        ])
        .spawn()
        .unwrap();
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
        self.child = GatewayProcess::spawn(self.public, self.private, &self.redis);
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
}
