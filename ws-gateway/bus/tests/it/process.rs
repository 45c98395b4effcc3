//! Backends as real processes: killed and frozen in the middle of a request. The example backend is the process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use keyway_bus::{Bus, RedisBus, Request, partition_of};

use crate::conformance::patient;
use crate::recorder::{Recorder, until};
use crate::redis::options;
use crate::server::Server;

struct Process(Child);

impl Process {
    fn start(server: &Server, work_ms: u64) -> Process {
        let mut command = Command::new(example());
        command.args(["--redis", &server.url(), "--lease-ms", "1500", "--work-ms", &work_ms.to_string()]);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Cargo builds a crate's examples with its tests, beside the folder of the test binary.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/backend");
    assert!(path.exists(), "{path:?} is missing: run `cargo build -p keyway-bus --examples`");
    path
}

/// A request is begun by a process that `end` then takes out; its successor answers it.
async fn check_taken_out(end: &str) -> (Server, Process, Process, std::sync::Arc<RedisBus>) {
    let server = Server::start(&[]);
    let node = RedisBus::connect(options(server.url()), Recorder::new().sink()).await.unwrap();
    let stuck = Process::start(&server, 60_000);
    let asked = {
        let node = std::sync::Arc::clone(&node);
        tokio::spawn(async move {
            node.request(Request { method: "example.echo".into(), ..patient("k", "unfinished") }).await
        })
    };
    let pending = || async {
        let stream = format!("kw:{{p{}}}:req", partition_of("k"));
        server.cli(&["XPENDING", &stream, "backends"]).lines().next().unwrap_or_default().to_owned()
    };
    until("the request to be begun", &pending, |count| count == "1").await;
    stuck.signal(end);
    let heir = Process::start(&server, 0);
    assert_eq!(asked.await.unwrap().unwrap(), Ok("unfinished".into()));
    until("the request to be acknowledged", &pending, |count| count == "0").await;
    (server, stuck, heir, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_backend_s_request_is_redelivered() {
    check_taken_out("-KILL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_backend_loses_its_partitions_and_gets_some_back() {
    let (server, stuck, _heir, _node) = check_taken_out("-STOP").await;
    stuck.signal("-CONT");
    let consumers = || async { server.cli(&["ZCARD", "kw:{p0}:consumers"]).trim().to_owned() };
    until("both to be consumers again", consumers, |count| count == "2").await;
    // One line a partition: the part of the lease's value after the fence names its holder.
    let script = "local r = {} for p = 0, 63 do r[#r + 1] = redis.call('get', 'kw:{p' .. p .. '}:lease') or '' end return r";
    let holders = || async {
        let printed = server.cli(&["EVAL", script, "0"]);
        let mut count: HashMap<String, usize> = HashMap::new();
        for holder in printed.lines().filter_map(|line| line.split_once(':')) {
            *count.entry(holder.1.to_owned()).or_default() += 1;
        }
        let mut counts: Vec<usize> = count.into_values().collect();
        counts.sort_unstable();
        counts
    };
    until("an even share for both", holders, |counts| counts == &[32, 32]).await;
}
