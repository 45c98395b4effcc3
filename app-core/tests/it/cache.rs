//! A real Redis on a free port, without a disk. Ends when it is dropped.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Redis(Child, String);

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Redis {
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    pub fn start_on(port: u16) -> Self {
        let port = port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed: Debian's package is `redis-server`");
        while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Self(child, format!("redis://127.0.0.1:{port}"))
    }

    pub fn url(&self) -> &str {
        &self.1
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
