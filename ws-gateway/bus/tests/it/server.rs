//! Real Redis servers, started by a test on free ports in a temporary folder and killed when it drops them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::recorder::PATIENCE;

/// One `redis-server` process; with `--appendonly yes` its data survives a restart.
pub struct Server {
    pub port: u16,
    child: Child,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_on(free_port(), arguments)
    }

    pub fn start_on(port: u16, arguments: &[&str]) -> Server {
        // What the bus logs belongs beside a failure; the second test to come here finds it done.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = spawn(port, &folder, &arguments);
        let server = Server { port, child, folder, arguments };
        server.wait_until_up();
        server
    }

    /// A sentinel that watches the master on `port` under the name `main` and decides alone.
    pub fn sentinel(port: u16) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let watch = format!("sentinel monitor main 127.0.0.1 {port} 1\n");
        let timing = "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n";
        std::fs::write(folder.path().join("sentinel.conf"), watch + timing).unwrap();
        let arguments = vec!["sentinel.conf".to_owned(), "--sentinel".to_owned()];
        let port = free_port();
        let child = spawn(port, &folder, &arguments);
        let server = Server { port, child, folder, arguments };
        server.wait_until_up();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs `redis-cli` against this server and returns what it printed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    /// The end of a machine: no last words.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.arguments);
        self.wait_until_up();
    }

    /// The process stops as if its machine were frozen; connections stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.cli(&["PING"]);
            if answer.contains("PONG") || answer.contains("NOAUTH") {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "redis-server on port {} does not answer: {answer}",
                self.port
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // A sentinel's configuration file must come first; its folder is the one thing both kinds share.
    command.current_dir(folder.path()).args(arguments).args(["--port", &port.to_string()]);
    if !arguments.iter().any(|argument| argument == "--sentinel") {
        command.args(["--save", ""]);
    }
    command.args(["--bind", "127.0.0.1"]).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("these tests need a real redis-server: install the Debian package `redis-server` ({error})")
    })
}

pub fn cli(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string()]).args(arguments);
    let output = command.output().unwrap_or_else(|error| {
        panic!("these tests need redis-cli: install the Debian package `redis-tools` ({error})")
    });
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn free_port() -> u16 {
    // Below 55,536, because a cluster node also listens 10,000 above.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// Three masters that share the slots.
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Cluster {
        let start = || Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        let servers: Vec<Server> = (0..3).map(|_| start()).collect();
        let addresses: Vec<String> =
            servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(addresses.iter().map(String::as_str));
        arguments.push("--cluster-yes");
        let created = servers[0].cli(&arguments);
        let deadline = Instant::now() + PATIENCE;
        for server in &servers {
            while !server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
                assert!(Instant::now() < deadline, "the cluster was not made: {created}");
                std::thread::yield_now();
            }
        }
        Cluster { servers }
    }

    pub fn url(&self) -> String {
        let nodes: Vec<String> =
            self.servers[1..].iter().map(|one| format!("node=127.0.0.1:{}", one.port)).collect();
        format!("redis-cluster://127.0.0.1:{}?{}", self.servers[0].port, nodes.join("&"))
    }
}
