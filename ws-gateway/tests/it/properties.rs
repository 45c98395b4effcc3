//! The pure session against a hostile bus: events lost, doubled and early. Whatever happens, what a client gets
//! is without holes and without repeats, or it is told to recover.

use std::sync::Arc;

use bytes::Bytes;
use keyway_bus::{Epoch, History, Position, Publication};
use keyway_protocol::{Close, ConnectionId, Format, decode_frame};
use proptest::prelude::*;
use serde_json::Value;
use ws_gateway::Config;
use ws_gateway::auth::KeySet;
use ws_gateway::event::{ChannelEvent, EventKind};
use ws_gateway::limits::{Bucket, Now};
use ws_gateway::session::{Input, Output, Session, SubscriptionKey};

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish,
    /// The oldest event under way arrives.
    Deliver,
    Lose,
    Double,
    /// The history read that the session waits for is answered with the stream as it is now.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Publish),
        4 => Just(Step::Deliver),
        1 => Just(Step::Lose),
        1 => Just(Step::Double),
        2 => Just(Step::Read),
    ]
}

fn session() -> Session {
    let text = "insecure = true\nlisten = \"127.0.0.1:0\"\n[namespaces.\"\"]\nhistory_size = 1000\nhistory_ttl_s = 60\n";
    let config = Config::load(Some(("test", text)), []).unwrap();
    let rules = Arc::new(config.rules(KeySet::default()));
    Session::new(ConnectionId::from_random([1; 16]), Format::Json, rules, 0, Now::default())
}

struct World {
    session: Session,
    stream: u64,
    under_way: std::collections::VecDeque<u64>,
    reading: Option<(SubscriptionKey, Option<u64>)>,
    attached: Option<SubscriptionKey>,
    /// What the client holds, as an SDK would.
    position: Option<u64>,
    closed: Option<Close>,
}

impl World {
    fn handle(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.session.handle(input, Now::default(), &mut outputs);
        for output in outputs {
            match output {
                Output::Admit(_) => {
                    let bucket = Arc::new(std::sync::Mutex::new(Bucket::new(0, 0, Now::default())));
                    self.handle(Input::Admitted(Ok(bucket)));
                }
                Output::Attach { key, read, .. } => {
                    self.reading = Some((key, read.and_then(|read| read.since).map(|(_, offset)| offset)));
                    self.attached = Some(key);
                }
                Output::Detach { key, .. } if self.attached == Some(key) => {
                    self.attached = None;
                    self.reading = None;
                }
                Output::Send(bytes) => self.hear(&bytes),
                Output::Close(close, _) => self.closed = Some(close),
                _ => {}
            }
        }
    }

    fn command(&mut self, text: &str) {
        self.handle(Input::Frame(decode_frame(Format::Json, text.as_bytes())));
    }

    fn hear(&mut self, bytes: &[u8]) {
        let message: Value = serde_json::from_slice(bytes).unwrap();
        let offset = |value: &Value| value["offset"].as_u64().unwrap_or(0);
        if let Some(reply) = message.get("subscribe") {
            self.position = Some(offset(reply));
            for publication in reply["publications"].as_array().into_iter().flatten() {
                self.take(offset(publication));
            }
        }
        let push = &message["push"];
        if push["pub"].is_object() {
            self.take(offset(&push["pub"]));
        }
        if push["unsubscribe"].is_object() {
            assert_eq!(push["unsubscribe"]["code"], 2500);
            let from = self.position.unwrap();
            self.command(&format!(
                "{{\"id\":9,\"subscribe\":{{\"channel\":\"a\",\"recover\":true,\"epoch\":\"E\",\"offset\":{from}}}}}"
            ));
        }
    }

    fn take(&mut self, offset: u64) {
        let position = self.position.as_mut().expect("nothing comes before the subscribe reply");
        assert_eq!(offset, *position + 1, "a hole or a repeat");
        *position = offset;
    }

    fn event(&mut self, offset: u64) {
        let Some(key) = self.attached else { return };
        let publication =
            Arc::new(Publication { offset, data: Bytes::from_static(b"1"), ..Publication::default() });
        let position = Position::new(Epoch::new("E"), offset);
        let event = ChannelEvent::new("a".into(), EventKind::Publication { publication, position });
        self.handle(Input::Event { key, event: Arc::new(event) });
    }

    fn read(&mut self) {
        let Some((key, since)) = self.reading.take() else { return };
        let publications = since
            .into_iter()
            .flat_map(|since| since + 1..=self.stream)
            .map(|offset| {
                Arc::new(Publication { offset, data: Bytes::from_static(b"1"), ..Publication::default() })
            })
            .collect();
        let history = History { publications, top: Position::new(Epoch::new("E"), self.stream) };
        self.handle(Input::Attached { key, result: Ok(history) });
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Publish => {
                self.stream += 1;
                self.under_way.push_back(self.stream);
            }
            Step::Deliver => {
                if let Some(offset) = self.under_way.pop_front() {
                    self.event(offset);
                }
            }
            Step::Lose => {
                self.under_way.pop_front();
            }
            Step::Double => {
                if let Some(offset) = self.under_way.front().copied() {
                    self.event(offset);
                }
            }
            Step::Read => self.read(),
        }
    }
}

proptest! {
    #[test]
    fn no_hole_and_no_repeat_whatever_the_bus_does(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World {
            session: session(),
            stream: 3,
            under_way: Default::default(),
            reading: None,
            attached: None,
            position: None,
            closed: None,
        };
        world.command("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}");
        for step in steps {
            world.act(step);
        }
        // Then the bus behaves: everything that is under way and one more arrive, reads are answered.
        world.act(Step::Publish);
        for _ in 0..400 {
            world.act(Step::Read);
            world.act(Step::Deliver);
        }
        world.act(Step::Read);
        prop_assert_eq!(&world.closed, &None);
        prop_assert_eq!(world.position, Some(world.stream));
    }

    #[test]
    fn any_frames_never_panic_and_nothing_follows_a_close(
        frames in prop::collection::vec(
            prop::sample::select(vec![
                "{}", "{\"id\":1,\"connect\":{}}", "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}", "x",
                "{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}", "{\"id\":4,\"rpc\":{\"method\":\"m\"}}",
                "{\"id\":5,\"publish\":{\"channel\":\"a\",\"data\":1}}", "{\"send\":{}}", "",
                "{\"id\":6,\"history\":{\"channel\":\"a\",\"limit\":-1}}", "{\"id\":7,\"refresh\":{\"token\":\"t\"}}",
                "{\"id\":8,\"sub_refresh\":{\"channel\":\"a\",\"token\":\"t\"}}", "{\"id\":9,\"presence\":{\"channel\":\"\"}}",
            ]),
            0..40,
        ),
    ) {
        let mut session = session();
        let mut closed = false;
        for frame in frames {
            let mut outputs = Vec::new();
            session.handle(Input::Frame(decode_frame(Format::Json, frame.as_bytes())), Now::default(), &mut outputs);
            prop_assert!(!closed || outputs.is_empty(), "{outputs:?} after a close");
            if let Some(at) = outputs.iter().position(|output| matches!(output, Output::Close(..))) {
                prop_assert_eq!(at + 1, outputs.len(), "the close is the last: {:?}", outputs);
                closed = true;
            }
        }
    }
}
