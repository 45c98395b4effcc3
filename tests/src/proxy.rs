//! The fault proxy: stands between a program and the emulator, keeps the log of calls, and does to each what the plan
//! of faults decides. A thread per connection, blocking: it serves one program at a time, on loopback.
//!
//! It owns the log and the sockets. What a call is, is `call`; what happens to it, is `fault`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::answer;
use crate::call::Call;
use crate::fault::{Faults, Numbers, Verdict};
use crate::http::{self, Message};

#[derive(Clone, Debug)]
pub struct Logged {
    pub call: Call,
    pub verdict: Verdict,
    /// Of the answer that the program got; 0 when it got none.
    pub status: u16,
    /// The code of a refusal, read off the answer.
    pub error: Option<String>,
    pub started: Instant,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub changing: usize,
    pub reading: usize,
}

impl Counts {
    pub fn all(self) -> usize {
        self.changing + self.reading
    }
}

#[derive(Default)]
struct Run {
    faults: Faults,
    calls: u64,
    changing: u64,
    actions_cut: BTreeSet<String>,
    requests_cut: BTreeSet<(String, Vec<u8>)>,
    log: Vec<Logged>,
}

struct Shared {
    upstream: String,
    run: Mutex<Run>,
    victim: AtomicU32,
    stopping: AtomicBool,
}

pub struct FaultProxy {
    address: String,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// `upstream` as `host:port`.
    pub fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the fault proxy")?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            run: Mutex::default(),
            victim: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::Builder::new().name("fault-proxy".into()).spawn(move || {
            for stream in listener.incoming() {
                if serving.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&serving);
                // A connection that breaks is the program's to notice.
                std::thread::spawn(move || serve(&shared, stream));
            }
        })?;
        Ok(Self { address, shared })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets the log, starts counting from 1, and follows this plan from now on.
    pub fn begin(&self, faults: Faults) {
        *self.shared.lock() = Run { faults, ..Run::default() };
        self.shared.victim.store(0, Ordering::SeqCst);
    }

    /// The process that a `kill_after_changing` ends.
    pub fn aim_at(&self, pid: u32) {
        self.shared.victim.store(pid, Ordering::SeqCst);
    }

    pub fn log(&self) -> Vec<Logged> {
        self.shared.lock().log.clone()
    }

    pub fn counts(&self) -> Counts {
        let log = self.log();
        let changing = log.iter().filter(|logged| logged.call.changing).count();
        Counts { changing, reading: log.len() - changing }
    }

    /// Calls by name, most frequent first: what to read when a count is too high.
    pub fn summary(&self) -> String {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for logged in self.log() {
            let mark = if logged.call.changing { "!" } else { " " };
            *names.entry(format!("{mark} {}", logged.call)).or_default() += 1;
        }
        let mut rows: Vec<_> = names.into_iter().collect();
        rows.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
        rows.iter().map(|(name, count)| format!("{count:5} {name}\n")).collect()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees that it shall stop.
        drop(TcpStream::connect(&self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, call: &Call, words: &[u8]) -> (Verdict, u64) {
        let mut run = self.lock();
        run.calls += 1;
        run.changing += u64::from(call.changing);
        let named = call.to_string();
        let request = (named.clone(), words.to_vec());
        let numbers = Numbers {
            call: run.calls,
            changing: run.changing,
            first_of_action: !run.actions_cut.contains(&named),
            first_of_request: !run.requests_cut.contains(&request),
        };
        let verdict = run.faults.decide(call, numbers);
        if verdict == Verdict::CutAfter {
            run.actions_cut.insert(named);
            run.requests_cut.insert(request);
        }
        (verdict, run.faults.latency_ms)
    }
}

/// Serves one connection until either side ends it.
fn serve(shared: &Shared, stream: TcpStream) {
    let Ok(mut writer) = stream.try_clone() else { return };
    if writer.set_nodelay(true).is_err() {
        return;
    }
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Message::read_request(&mut reader) {
        let Some(answer) = answer_to(shared, &request) else {
            // Cut: the program sees the connection close while it waits for an answer.
            let _ = writer.shutdown(std::net::Shutdown::Both);
            return;
        };
        if answer.write(&mut writer, &[("Connection", "keep-alive")]).is_err() {
            return;
        }
    }
}

/// `None` when the connection is to be cut.
fn answer_to(shared: &Shared, request: &Message) -> Option<Message> {
    let started = Instant::now();
    let call = Call::of(request);
    let (verdict, latency_ms) = shared.decide(&call, &request.body);
    wait(latency_ms);
    let answer = match &verdict {
        Verdict::Throttle => Some(answer::throttled(&call)),
        Verdict::Refuse { status, code } => {
            Some(answer::refused(&call, *status, code, "You are not authorized to perform this operation."))
        }
        Verdict::CutBefore => None,
        Verdict::Pass | Verdict::CutAfter | Verdict::KillAfter => {
            Some(http::exchange(&shared.upstream, request).unwrap_or_else(|error| {
                Message::answer(502, "text/plain", format!("the emulator did not answer: {error:#}"))
            }))
        }
    };
    if verdict == Verdict::KillAfter {
        kill(shared.victim.load(Ordering::SeqCst));
    }
    let lost = matches!(verdict, Verdict::CutAfter | Verdict::CutBefore | Verdict::KillAfter);
    let status = answer.as_ref().filter(|_| !lost).map_or(0, Message::status);
    let error = answer.as_ref().filter(|answer| answer.status() >= 400).map(error_code);
    shared.lock().log.push(Logged { call, verdict, status, error, started, took: started.elapsed() });
    answer.filter(|_| !lost)
}

#[allow(clippy::disallowed_methods, reason = "this thread is the emulated network; nothing else runs on it")]
fn wait(latency_ms: u64) {
    if latency_ms > 0 {
        std::thread::sleep(Duration::from_millis(latency_ms));
    }
}

/// Returns once the signal is sent: the answer is never delivered to the living.
fn kill(pid: u32) {
    if pid != 0 {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
}

fn error_code(answer: &Message) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    if let Some((_, rest)) = text.split_once("<Code>") {
        return rest.split('<').next().unwrap_or("").to_owned();
    }
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let named = json["__type"].as_str().map(|name| name.rsplit('#').next().unwrap_or(name).to_owned());
    named.unwrap_or_else(|| text.lines().next().unwrap_or("").chars().take(200).collect())
}
