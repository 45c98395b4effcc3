//! Instructions per operation of what every message passes: decode, encode, hub fan-out, a session's delivery. Counted
//! by valgrind, so that the numbers are the same on a busy machine: each scene runs twice with different counts, and
//! the difference is divided. `cargo bench -p ws-gateway --bench instructions`
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use keyway_bus::{Bus, Epoch, History, MemoryBroker, Position, Publication};
use keyway_protocol::{ConnectionId, Format, decode_frame, protobuf};
use ws_gateway::Config;
use ws_gateway::auth::KeySet;
use ws_gateway::event::{ChannelEvent, EventKind};
use ws_gateway::hub::Hub;
use ws_gateway::limits::{Bucket, Now};
use ws_gateway::link::Link;
use ws_gateway::outbox::Outbox;
use ws_gateway::session::{Input, Output, Session, SubscriptionKey};

type Scene = (&'static str, fn(u64));

/// Name, and what runs an operation so many times.
const SCENES: &[Scene] = &[
    ("decode an RPC of 200 bytes, JSON", |count| decode(Format::Json, count)),
    ("decode an RPC of 200 bytes, Protobuf", |count| decode(Format::Protobuf, count)),
    ("encode a publication of 200 bytes, JSON", |count| encode(Format::Json, count)),
    ("encode a publication of 200 bytes, Protobuf", |count| encode(Format::Protobuf, count)),
    ("hub: one of 1,000 deliveries", hub),
    ("session and outbox: one delivery", deliver),
];

/// The smaller count warms up; what both have in common cancels out.
const COUNTS: [u64; 2] = [1_000, 11_000];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, scene, count] = arguments.as_slice()
        && let (Ok(scene), Ok(count)) = (scene.parse::<usize>(), count.parse())
    {
        return SCENES[scene].1(count);
    }
    for (number, (name, _)) in SCENES.iter().enumerate() {
        let [few, many] = COUNTS.map(|count| counted(&arguments[0], number, count));
        println!("{name}: {} instructions", (many - few) / (COUNTS[1] - COUNTS[0]));
    }
}

fn counted(program: &str, scene: usize, count: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program])
        .args([scene.to_string(), count.to_string()])
        .output()
        .expect("valgrind is installed (Debian package `valgrind`)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    collected
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind said:\n{said}"))
}

fn payload() -> String {
    format!("{{\"id\":\"evt_1\",\"p\":\"{}\"}}", "x".repeat(178))
}

fn decode(format: Format, count: u64) {
    let json = format!("{{\"id\":7,\"rpc\":{{\"method\":\"event.report\",\"data\":{}}}}}", payload());
    let frame = match format {
        Format::Json => json.into_bytes(),
        Format::Protobuf => {
            let command = decode_frame(Format::Json, json.as_bytes()).unwrap().remove(0);
            protobuf::encode_command(command).to_vec()
        }
    };
    for _ in 0..count {
        black_box(decode_frame(format, black_box(&frame)).unwrap());
    }
}

fn event(offset: u64) -> EventKind {
    let data = Bytes::from(payload());
    let publication = Arc::new(Publication { offset, data, ..Publication::default() });
    EventKind::Publication { publication, position: Position::new(Epoch::new("E"), offset) }
}

fn encode(format: Format, count: u64) {
    let channel: Arc<str> = "site:acme.site_1".into();
    for offset in 0..count {
        let event = ChannelEvent::new(Arc::clone(&channel), event(offset));
        black_box(event.encoded(format).unwrap());
    }
}

fn hub(count: u64) {
    let bus: Arc<dyn Bus> = MemoryBroker::default().node(Arc::new(|_| {}));
    let (hub, channel) = (Arc::new(Hub::default()), Arc::<str>::from("site:acme.site_1"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let key = SubscriptionKey { slot: 0, generation: 0 };
    let links: Vec<Arc<Link>> = (0..1_000u32)
        .map(|n| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let link = Arc::new(Link::new(ConnectionId::from_random(id), 1 << 20));
            if let Some(joining) = hub.add(&bus, &channel, key, &link) {
                // The memory bus has nothing to wait for.
                let _outcome = joining.now_or_never();
            }
            link
        })
        .collect();
    let mut inputs = Vec::new();
    for offset in 0..count / 1_000 {
        assert_eq!(hub.fan_out(&channel, event(offset)), 1_000);
        for link in &links {
            link.take(&mut inputs);
            inputs.clear();
        }
    }
}

fn deliver(count: u64) {
    let text = "insecure = true\nlisten = \"127.0.0.1:0\"\n";
    let config = Config::load(Some(("bench", text)), []).unwrap();
    let rules = Arc::new(config.rules(KeySet::default()));
    let now = Now::default();
    let mut session = Session::new(ConnectionId::from_random([1; 16]), Format::Json, rules, 0, now);
    let greeting = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"site:acme.site_1\"}}";
    let (mut outputs, mut subscription) = (Vec::new(), None);
    session.handle(Input::Frame(decode_frame(Format::Json, greeting.as_bytes())), now, &mut outputs);
    while let Some(output) = outputs.pop() {
        let answer = match output {
            Output::Admit(_) => Input::Admitted(Ok(Arc::new(Mutex::new(Bucket::new(0, 0, now))))),
            Output::Attach { key, .. } => {
                subscription = Some(key);
                let top = Position::new(Epoch::new("E"), 0);
                Input::Attached { key, result: Ok(History { publications: Vec::new(), top }) }
            }
            _ => continue,
        };
        session.handle(answer, now, &mut outputs);
    }
    let key = subscription.expect("a subscription attaches");
    let mut outbox = Outbox::new(Format::Json, 1 << 20);
    let mut buffer = Vec::new();
    let channel: Arc<str> = "site:acme.site_1".into();
    // As in a fan-out, one event is shared by many; here by the same session with other offsets.
    for offset in 1..=count {
        let event = Arc::new(ChannelEvent::new(Arc::clone(&channel), event(offset)));
        session.handle(Input::Event { key, event }, now, &mut outputs);
        for output in outputs.drain(..) {
            if let Output::Send(message) = output {
                outbox.push(message).unwrap();
            }
        }
        outbox.fill(&mut buffer, 64 * 1024);
        assert!(black_box(&buffer).len() > 200, "it was delivered");
    }
}
