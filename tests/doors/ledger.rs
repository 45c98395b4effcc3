//! What a door wrote down and what its bolt did, against what core says. Pure: texts and JSON in, contradictions out. The
//! door's own memory is the truth; core may know less, and never anything else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One door: every record of its memory in order, and every motion it told.
#[derive(Debug, Default)]
pub struct Door {
    pub device: String,
    /// By epoch and number.
    pub events: BTreeMap<(String, u64), Value>,
    /// The newest entry of each command.
    pub entries: BTreeMap<String, Value>,
    /// What core has acknowledged, by epoch.
    pub committed: BTreeMap<String, u64>,
    /// Cause and instant.
    pub motions: Vec<(String, String)>,
    pub contradictions: Vec<String>,
}

impl Door {
    /// From its memory's lines and its standard output.
    pub fn read(device: &str, memory: &str, output: &str) -> Self {
        let mut door = Self { device: device.into(), ..Self::default() };
        let mut epoch = String::new();
        for line in memory.lines() {
            // The last line may be cut off by a kill: it never counted.
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            match record["record"].as_str() {
                Some("epoch") => epoch = text(&record["epoch"]),
                Some("event") => {
                    let event = record["event"].clone();
                    let key = (epoch.clone(), event["seq"].as_u64().unwrap_or(0));
                    if let Some(before) = door.events.insert(key.clone(), event.clone())
                        && before != event
                    {
                        door.contradictions.push(format!("{device} wrote two events as {key:?}"));
                    }
                }
                Some("ledger") => {
                    let entry = record["entry"].clone();
                    door.entries.insert(text(&entry["command"]), entry);
                }
                Some("committed") => {
                    door.committed.insert(epoch.clone(), record["watermark"].as_u64().unwrap_or(0));
                }
                _ => {}
            }
        }
        for line in output.lines() {
            if let Ok(motion) = serde_json::from_str::<Value>(line)
                && let Some(cause) = motion["moved"].as_str()
            {
                door.motions.push((cause.to_owned(), text(&motion["at"])));
            }
        }
        door
    }

    /// Events that core has not acknowledged yet.
    pub fn held(&self) -> usize {
        let acknowledged = |epoch: &String| self.committed.get(epoch).copied().unwrap_or(0);
        self.events.keys().filter(|(epoch, seq)| *seq > acknowledged(epoch)).count()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// No durable event is lost or doubled or changed, none is invented.
pub fn compare_events(doors: &[Door], core: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeMap<(String, String, u64), &Value> = BTreeMap::new();
    for row in core.iter().filter(|row| row["source"]["device"].is_string()) {
        let source = &row["source"];
        let key = (text(&source["device"]), text(&source["epoch"]), source["seq"].as_u64().unwrap_or(0));
        if known.insert(key.clone(), &row["event"]).is_some() {
            problems.push(format!("core has {key:?} twice"));
        }
    }
    for door in doors {
        problems.extend(door.contradictions.iter().cloned());
        for ((epoch, seq), event) in &door.events {
            match known.remove(&(door.device.clone(), epoch.clone(), *seq)) {
                None => problems.push(format!("event {seq} of {} is lost", door.device)),
                Some(held) if held != event => {
                    problems.push(format!(
                        "event {seq} of {}: the door wrote {event}, core has {held}",
                        door.device
                    ));
                }
                Some(_) => {}
            }
        }
    }
    problems.extend(known.keys().map(|key| format!("core has {key:?}, which no door wrote")));
    problems
}

/// No command moved a bolt twice or late, and core says nothing that a ledger contradicts.
pub fn compare_commands(doors: &[Door], core: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut moved: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (cause, at) in
        doors.iter().flat_map(|door| &door.motions).filter(|(cause, _)| cause.starts_with("cmd_"))
    {
        moved.entry(cause).or_default().push(at);
    }
    problems.extend(
        moved.iter().filter(|(_, at)| at.len() > 1).map(|(id, at)| format!("{id} moved a bolt at {at:?}")),
    );
    let mut unknown: BTreeSet<&str> = moved.keys().copied().collect();
    for command in core {
        let id = command["id"].as_str().unwrap_or_default();
        let state = command["state"].as_str().unwrap_or_default();
        let deadline = command["deadline"].as_str().unwrap_or_default();
        unknown.remove(id);
        let entry = doors.iter().find_map(|door| door.entries.get(id));
        let written = entry.map(|entry| text(&entry["state"]));
        let at = moved.get(id).and_then(|at| at.first()).copied();
        // Both are RFC 3339 in UTC with milliseconds: they compare as text.
        if let Some(at) = at.filter(|at| *at >= deadline) {
            problems.push(format!("{id} opened at {at}, its deadline was {deadline}"));
        }
        let opened = at.is_some() || written.as_deref() == Some("executed");
        let says_not = ["denied", "failed", "rejected", "expired", "cancelled"].contains(&state);
        if says_not && opened {
            problems.push(format!("core says {id} is {state}, and the door opened"));
        }
        if state == "executed" && !opened {
            problems.push(format!("core says {id} is executed, the ledger says {written:?}"));
        }
        if written.as_deref() == Some("executed") && state != "executed" {
            problems.push(format!("the ledger says {id} is executed, core says {state}"));
        }
    }
    problems.extend(unknown.into_iter().map(|id| format!("{id} moved a bolt, and core does not know it")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn door() -> Door {
        let memory = [
            json!({"record": "epoch", "epoch": "e1"}),
            json!({"record": "event", "event": {"seq": 1, "type": "door.unlocked"}}),
            json!({"record": "event", "event": {"seq": 2, "type": "door.locked"}}),
            json!({"record": "ledger", "entry": {"command": "cmd_a", "state": "written"}}),
            json!({"record": "ledger", "entry": {"command": "cmd_a", "state": "executed"}}),
            json!({"record": "committed", "watermark": 1}),
        ];
        let memory: Vec<String> = memory.iter().map(Value::to_string).collect();
        let output = r#"{"moved":"cmd_a","at":"2026-11-21T00:00:01.000Z","open_ms":5000}"#;
        Door::read("dev_a", &(memory.join("\n") + "\n{\"rec"), output)
    }

    fn event(seq: u64, kind: &str) -> Value {
        json!({"source": {"device": "dev_a", "epoch": "e1", "seq": seq}, "event": {"seq": seq, "type": kind}})
    }

    fn command(id: &str, state: &str, deadline: &str) -> Value {
        json!({"id": id, "state": state, "deadline": deadline})
    }

    #[test]
    fn lost_doubled_changed_and_invented_events_are_found() {
        let (first, second) = (event(1, "door.unlocked"), event(2, "door.locked"));
        let check = |core: &[Value]| compare_events(&[door()], core);
        assert_eq!(check(&[first.clone(), second.clone()]), [] as [&str; 0]);
        assert_eq!(check(std::slice::from_ref(&first)), ["event 2 of dev_a is lost"]);
        assert_eq!(check(&[first.clone(), first.clone(), second.clone()]).len(), 1);
        assert_eq!(check(&[first.clone(), event(2, "door.opened")]).len(), 1);
        assert_eq!(check(&[first, second, event(3, "door.opened")]).len(), 1);
        assert_eq!(door().held(), 1);
    }

    #[test]
    fn commands_twice_late_or_contradicted_are_found() {
        let later = "2026-11-21T00:00:02.000Z";
        let check = |doors: &[Door], core: &[Value]| compare_commands(doors, core).len();
        assert_eq!(check(&[door()], &[command("cmd_a", "executed", later)]), 0);
        assert_eq!(check(&[door(), door()], &[command("cmd_a", "executed", later)]), 1);
        assert_eq!(check(&[door()], &[command("cmd_a", "executed", "2026-11-21T00:00:01.000Z")]), 1);
        assert_eq!(check(&[door()], &[command("cmd_a", "expired", later)]), 2);
        assert_eq!(check(&[door()], &[]), 1);
        assert_eq!(check(&[], &[command("cmd_a", "executed", later)]), 1);
        assert_eq!(check(&[], &[command("cmd_b", "expired", later)]), 0);
    }
}
