//! Progress of an execution: a line per running step with elapsed and expected time on a terminal, plain lines in a
//! pipe, NDJSON for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use infra_engine::execute::Event;
use infra_model::address::Address;
use serde_json::json;

use super::Output;

pub struct Progress<'a> {
    output: &'a Output,
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<(Address, String), ProgressBar>>,
    /// What each step said last that it waits for, since when, and when it was said: a pipe gets a line when it changes, and
    /// one a minute as long as it lasts.
    waiting: Mutex<BTreeMap<Address, (String, Instant, Instant)>>,
}

/// Silence of this length makes people look whether it still runs.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl<'a> Progress<'a> {
    pub fn new(output: &'a Output) -> Self {
        let terminal = std::io::stderr().is_terminal() && !output.is_json();
        let bars = terminal.then(MultiProgress::new);
        Self { output, bars, running: Mutex::default(), waiting: Mutex::default() }
    }

    pub fn event(&self, event: Event) {
        match (&self.bars, self.output.is_json()) {
            (_, true) => self.output.line(&as_json(&event)),
            (Some(bars), false) => self.draw(bars, event),
            (None, false) => self.print(&event),
        }
    }

    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn draw(&self, bars: &MultiProgress, event: Event) {
        let mut running = lock(&self.running);
        match event {
            Event::Started { address, what, expected_s, .. } => {
                let bar = bars.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("  {spinner} {elapsed:>4} {msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                let expected =
                    if expected_s > 1 { format!(" (about {expected_s} s)") } else { String::new() };
                bar.set_message(format!("{address}  {what}{expected}"));
                bar.enable_steady_tick(Duration::from_millis(250));
                running.insert((address, what.to_owned()), bar);
            }
            Event::Waiting { address, what, .. } => {
                let of = running.iter().find(|((at, _), _)| at == &address);
                if let Some(((_, doing), bar)) = of {
                    bar.set_message(format!("{address}  {doing}: {what}"));
                }
            }
            Event::Done { address, what, .. } => {
                if let Some(bar) = running.remove(&(address.clone(), what.to_owned())) {
                    bar.finish_and_clear();
                    bars.remove(&bar);
                }
                let tick = self.output.error_style().paint_tone("32", "✓");
                let _ = bars.println(format!("  {tick} {address}  {what}"));
            }
            Event::Failed { address, what, why, .. } => {
                if let Some(bar) = running.remove(&(address.clone(), what.to_owned())) {
                    bar.finish_and_clear();
                }
                let cross = self.output.error_style().paint_tone("31", "✗");
                let _ = bars.println(format!("  {cross} {address}  {what}: {why}"));
            }
        }
    }

    fn print(&self, event: &Event) {
        match event {
            Event::Started { .. } => {}
            Event::Waiting { address, what, .. } => {
                let now = Instant::now();
                let mut waiting = lock(&self.waiting);
                let known = waiting.get(address).filter(|(said, ..)| said == what).cloned();
                let (since, said) = known.map_or((now, None), |(_, since, said)| (since, Some(said)));
                if said.is_some_and(|said| now - said < SILENCE_MAX) {
                    return;
                }
                waiting.insert(address.clone(), (what.clone(), since, now));
                let minutes = (now - since).as_secs() / 60;
                let still = if minutes > 0 { format!(", for {minutes} min now") } else { String::new() };
                self.output.note(&format!("  … {address}  {what}{still}"));
            }
            Event::Done { address, what, elapsed, .. } => {
                self.output.note(&format!("  ✓ {address}  {what}  {:.1} s", elapsed.as_secs_f64()));
            }
            Event::Failed { address, what, why, .. } => {
                self.output.note(&format!("  ✗ {address}  {what}: {why}"))
            }
        }
    }
}

fn as_json(event: &Event) -> serde_json::Value {
    match event {
        Event::Started { address, kind, what, expected_s } => {
            json!({"event": "started", "address": address, "kind": kind, "what": what, "expected_s": expected_s})
        }
        Event::Waiting { address, kind, what } => {
            json!({"event": "waiting", "address": address, "kind": kind, "for": what})
        }
        Event::Done { address, kind, what, id, elapsed } => {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            json!({"event": "done", "address": address, "kind": kind, "what": what, "id": id, "elapsed_ms": elapsed_ms})
        }
        Event::Failed { address, kind, what, why } => {
            json!({"event": "failed", "address": address, "kind": kind, "what": what, "why": why})
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
