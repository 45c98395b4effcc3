//! What `infra` costs, in a release build: API calls, wall clock on a fast and on a slow network, CPU and memory, each
//! beside its bound. `cargo run --release -p e2e --bin bench` prints one table.
//!
//! It measures and prints; it asserts nothing, because a clock is no test. The call counts are asserted in tests/e2e.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::emulator::Emulator;
use e2e::proxy::{Counts, Logged};
use e2e::{FaultProxy, Faults, Infra, place};

/// A round trip to AWS from an office on the same continent.
const SLOW_MS: u64 = 60;

/// The bounds that the project holds itself to (docs/testing.md, "Bounds").
struct Bound {
    calls: usize,
    reading: Option<usize>,
    wall_s: Option<f64>,
    cpu_s: Option<f64>,
    peak_mib: Option<f64>,
}

const APPLY: Bound = Bound { calls: 240, reading: Some(90), wall_s: None, cpu_s: None, peak_mib: None };
const PLAN: Bound =
    Bound { calls: 70, reading: None, wall_s: Some(1.0), cpu_s: Some(0.3), peak_mib: Some(60.0) };
const LARGE: Bound = Bound { calls: 280, reading: None, wall_s: None, cpu_s: None, peak_mib: None };
const DESTROY: Bound = Bound { calls: 240, reading: None, wall_s: None, cpu_s: None, peak_mib: None };

struct Measured {
    what: &'static str,
    latency_ms: u64,
    counts: Counts,
    wall_s: f64,
    cpu_s: f64,
    peak_mib: f64,
    /// The longest chain of calls each of which began after the one before had ended.
    chain: usize,
}

fn main() -> Result<()> {
    build()?;
    let mut rows = Vec::new();
    for latency_ms in [0, SLOW_MS] {
        rows.extend(round(latency_ms)?);
    }
    print!("{}", table(&rows));
    Ok(())
}

/// From nothing to nothing, on an emulator of its own.
fn round(latency_ms: u64) -> Result<Vec<Measured>> {
    let emulator = Emulator::start(&mut |_| ())?;
    let proxy = FaultProxy::start(emulator.address())?;
    let infra = Infra::new(proxy.url())?;
    let large = e2e::scene::with_more_services(&infra, e2e::scene::MORE_SERVICES)?;
    let large = large.to_string_lossy().into_owned();
    let mut rows = Vec::new();
    let mut step = |what, arguments: &[&str], wanted: i32| -> Result<()> {
        eprintln!("{what} at {latency_ms} ms a call ...");
        rows.push(measure(&infra, &proxy, what, latency_ms, arguments, wanted)?);
        Ok(())
    };
    step("plan from nothing", &["plan", "--environment", "staging"], 2)?;
    step("apply from nothing", &["apply", "--environment", "staging", "--yes"], 0)?;
    step("plan, nothing to do", &["plan", "--environment", "staging"], 0)?;
    step("apply 50 more services", &["apply", "--environment", &large, "--yes"], 0)?;
    step("plan with 50 more", &["plan", "--environment", &large], 0)?;
    step("apply 50 fewer", &["apply", "--environment", "staging", "--yes"], 0)?;
    let destroy = e2e::scene::destroy_arguments("staging");
    step("destroy", &destroy.iter().map(String::as_str).collect::<Vec<_>>(), 0)?;
    Ok(rows)
}

fn measure(
    infra: &Infra,
    proxy: &FaultProxy,
    what: &'static str,
    latency_ms: u64,
    arguments: &[&str],
    wanted: i32,
) -> Result<Measured> {
    proxy.begin(Faults { latency_ms, ..Faults::default() });
    let mut timed = Command::new("python3");
    let inner = infra.command(arguments);
    timed.arg("-c").arg(RESOURCES).arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        timed.env(key, value.unwrap_or_default());
    }
    if let Some(folder) = inner.get_current_dir() {
        timed.current_dir(folder);
    }
    let began = Instant::now();
    let output =
        timed.stdin(Stdio::null()).output().context("python3, which reads the resources of a child")?;
    let wall_s = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(wanted), "`{what}` ended with {:?}:\n{said}", output.status.code());
    let last = said.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = last.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(numbers.len() == 3, "no resources in {last:?}");
    let chain = longest_chain(&proxy.log());
    let wall_s = wall_s.min(numbers[0]);
    Ok(Measured {
        what,
        latency_ms,
        counts: proxy.counts(),
        wall_s,
        cpu_s: numbers[1],
        peak_mib: numbers[2],
        chain,
    })
}

/// Runs its arguments, then says wall seconds, CPU seconds and peak MiB of that child on the last line of stderr.
const RESOURCES: &str = "
import resource, subprocess, sys, time
began = time.monotonic()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
scale = 1024 * 1024 if sys.platform == 'darwin' else 1024
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / scale, file=sys.stderr)
sys.exit(status)
";

/// Calls sorted by their end; each takes the longest chain that had ended before it began.
fn longest_chain(log: &[Logged]) -> usize {
    let mut ended: BTreeMap<std::time::Instant, usize> = BTreeMap::new();
    let mut calls: Vec<_> = log.iter().collect();
    calls.sort_by_key(|logged| logged.started);
    let mut longest = 0;
    for logged in calls {
        let before = ended.range(..=logged.started).map(|(_, length)| *length).max().unwrap_or(0);
        longest = longest.max(before + 1);
        ended
            .entry(logged.started + logged.took)
            .and_modify(|l| *l = (*l).max(before + 1))
            .or_insert(before + 1);
    }
    longest
}

fn build() -> Result<()> {
    let built = place::cargo().args(place::BUILD_INFRA).arg("--release").status()?;
    ensure!(built.success(), "cargo could not build infra");
    Ok(())
}

fn table(rows: &[Measured]) -> String {
    let mut text = format!(
        "\n{:<24} {:>4} {:>16} {:>14} {:>14} {:>12} {:>14}\n",
        "", "ms", "calls (ch/rd)", "wall s", "CPU s", "peak MiB", "longest chain"
    );
    for row in rows {
        let bound = match row.what {
            "apply from nothing" => Some(APPLY),
            "plan, nothing to do" => Some(PLAN),
            "plan with 50 more" => Some(LARGE),
            "destroy" => Some(DESTROY),
            _ => None,
        };
        let Counts { changing, reading } = row.counts;
        let calls = format!("{} ({changing}/{reading})", row.counts.all());
        let _ = writeln!(
            text,
            "{:<24} {:>4} {:>16} {:>14.2} {:>14.2} {:>12.0} {:>14}",
            row.what, row.latency_ms, calls, row.wall_s, row.cpu_s, row.peak_mib, row.chain
        );
        let Some(bound) = bound else { continue };
        let or_none = |value: Option<f64>| value.map_or(String::new(), |value| format!("<= {value}"));
        let reading = bound.reading.map_or(String::new(), |reading| format!(" (rd <= {reading})"));
        // The bound of the wall clock is one of the slow network; CPU and memory hold on either.
        let wall_s = bound.wall_s.filter(|_| row.latency_ms == SLOW_MS);
        let apply = row.what == "apply from nothing" && row.latency_ms == SLOW_MS;
        let chain_s = row.chain as f64 * (SLOW_MS as f64 / 1_000.0) * 1.5;
        let wall = if apply { format!("<= {chain_s:.1}") } else { or_none(wall_s) };
        let _ = writeln!(
            text,
            "{:<24} {:>4} {:>16} {wall:>14} {:>14} {:>12}",
            "  bound",
            "",
            format!("<= {}{reading}", bound.calls),
            or_none(bound.cpu_s),
            or_none(bound.peak_mib)
        );
    }
    text
}
