//! The frames recorded from the reference library, replayed against a real socket: the same answers in the same
//! order, byte for byte, apart from connection ids and epochs.

use std::collections::BTreeMap;

use keyway_bus::{Channels, HistoryFilter, NewPublication, PublishOptions};

use crate::gateway;
use crate::raw::{Raw, Seen};

const TRANSCRIPT: &str = include_str!("../../protocol/fixtures/transcript.txt");

const AS_RECORDED: &str = r#"
insecure = true
anonymous_user = "u"
personal = false
rpc = false
send = false
[namespaces.""]
history_size = 100
history_ttl_s = 600
presence = true
join_leave = true
"#;

struct Section {
    name: String,
    steps: Vec<(String, Vec<String>)>,
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in TRANSCRIPT.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            sections.push(Section { name: name.to_owned(), steps: Vec::new() });
            continue;
        }
        let steps = &mut sections.last_mut().unwrap().steps;
        if line == ">>" || line.starts_with(">> ") {
            steps.push((line[2..].trim_start().to_owned(), Vec::new()));
        } else if let Some(answer) = line.strip_prefix("<< ") {
            steps.last_mut().unwrap().1.push(answer.to_owned());
        } else {
            let step = steps.last_mut().unwrap();
            step.0.push('\n');
            step.0.push_str(line);
        }
    }
    sections
}

fn replaced(text: &str, names: &BTreeMap<String, String>) -> String {
    names.iter().fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded, ours))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorded_conversations() {
    let gateway = gateway::start(AS_RECORDED).await;
    let backend = gateway.broker.backend();
    for n in 0..3 {
        let data = format!("{{\"n\":{n}}}");
        backend
            .publish("r", NewPublication::of(data), &PublishOptions::with_history(100, 600_000))
            .await
            .unwrap();
    }
    let mut names = BTreeMap::new();
    for (channel, recorded) in [("a", "bjojNmas"), ("b", "YbqhDhaP"), ("r", "AlXoWWHq")] {
        let top = backend.history(channel, HistoryFilter::top()).await.unwrap().top;
        names.insert(recorded.to_owned(), top.epoch.as_str().to_owned());
    }
    let sections = sections();
    assert_eq!(sections.len(), 18, "the transcript was read whole");
    for section in &sections {
        let mut client = Raw::open(gateway.public).await;
        for (frame, answers) in &section.steps {
            client.send(&replaced(frame, &names)).await;
            for answer in answers {
                let shown = match client.next().await {
                    Seen::Line(line) => line,
                    Seen::Close(code, reason) => format!("CLOSE {code} {reason}"),
                    other => panic!("{}: {other:?}", section.name),
                };
                if let Some((_, recorded_id)) = answer.split_once("\"connect\":{\"client\":\"") {
                    let (_, our_id) =
                        shown.split_once("\"connect\":{\"client\":\"").expect("a connect reply");
                    names.insert(recorded_id[..36].to_owned(), our_id[..36].to_owned());
                }
                assert_eq!(shown, replaced(answer, &names), "{}, after {frame}", section.name);
            }
        }
    }
}
