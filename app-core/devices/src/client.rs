//! The client's side of the Centrifuge protocol v2 in JSON: frames for connect and calls, and what the server's frames
//! mean. Owns the wire only; refuses to know doors, phones and sockets. (`keyway-protocol` is the server's side.)

use crate::door::Call;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Calls that wait for a reply. The gateway takes 16 at once; beyond that it answers 111.
const CALLS_MAX: usize = 64;

/// Core's own codes. Others are the gateway's, who knows nothing of what became of a call.
const CORE_REFUSES: std::ops::Range<u32> = 400..500;

#[derive(Debug, Default)]
pub struct ClientSession {
    next_id: u32,
    connect_id: u32,
    waiting: HashMap<u32, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// Silence for longer than `ping_s` and some seconds means that the link is dead.
    Connected {
        ping_s: u32,
    },
    /// The server refused the connection; with `temporary` it may be tried again.
    Refused {
        code: u32,
        message: String,
        temporary: bool,
    },
    /// `None`: failed, which means unknown.
    Reply {
        call: u64,
        payload: Option<Vec<u8>>,
    },
    /// Core has looked at it and will not do it, now or ever again as it stands. 4xx as in HTTP.
    CallRefused {
        call: u64,
        code: u32,
        message: String,
    },
    Publication {
        channel: String,
        data: Vec<u8>,
    },
    /// To be answered by an empty object.
    Ping,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the server sent what is not a message of the client protocol")]
    Malformed,
}

#[derive(Serialize)]
struct Connect<'a> {
    token: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Rpc<'a> {
    method: &'a str,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Command<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<Connect<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc: Option<Rpc<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    id: u32,
    error: Option<ServerError>,
    #[serde(borrow)]
    connect: Option<Connected<'a>>,
    #[serde(borrow)]
    rpc: Option<Data<'a>>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
}

#[derive(Deserialize)]
struct ServerError {
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    temporary: bool,
}

#[derive(Deserialize)]
struct Connected<'a> {
    #[serde(default)]
    ping: u32,
    #[serde(default, borrow)]
    subs: BTreeMap<String, Subscribed<'a>>,
}

#[derive(Deserialize)]
struct Subscribed<'a> {
    #[serde(default, borrow)]
    publications: Vec<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(default)]
    channel: String,
    #[serde(borrow, rename = "pub")]
    publication: Option<Data<'a>>,
}

fn bytes(data: &Data<'_>) -> Option<Vec<u8>> {
    data.data.map(|raw| raw.get().as_bytes().to_vec())
}

impl ClientSession {
    /// The first frame of a connection.
    pub fn connect(&mut self, token: &str, name: &str) -> String {
        self.next_id += 1;
        self.connect_id = self.next_id;
        self.waiting.clear();
        let command = Command { id: self.next_id, connect: Some(Connect { token, name }), rpc: None };
        serde_json::to_string(&command).expect("strings are always JSON")
    }

    /// A call as a frame; `None` when too many wait already or the payload is not JSON.
    pub fn call(&mut self, call: &Call) -> Option<String> {
        if self.waiting.len() >= CALLS_MAX {
            return None;
        }
        let data: &RawValue = serde_json::from_slice(&call.payload).ok()?;
        self.next_id += 1;
        self.waiting.insert(self.next_id, call.id);
        let command =
            Command { id: self.next_id, connect: None, rpc: Some(Rpc { method: call.method, data }) };
        serde_json::to_string(&command).ok()
    }

    /// One frame of the server, which may hold several messages.
    pub fn read(&mut self, frame: &str) -> Result<Vec<FromServer>, WireError> {
        let mut all = Vec::new();
        for line in frame.lines().filter(|line| !line.trim().is_empty()) {
            let message: Message<'_> = serde_json::from_str(line).map_err(|_| WireError::Malformed)?;
            self.message(message, &mut all);
        }
        Ok(all)
    }

    fn message(&mut self, message: Message<'_>, all: &mut Vec<FromServer>) {
        if let Some(push) = message.push {
            if let Some(data) = push.publication.as_ref().and_then(bytes) {
                all.push(FromServer::Publication { channel: push.channel, data });
            }
        } else if message.id == 0 {
            all.push(FromServer::Ping);
        } else if message.id == self.connect_id {
            if let Some(ServerError { code, message, temporary }) = message.error {
                all.push(FromServer::Refused { code, message, temporary });
            } else if let Some(connected) = message.connect {
                all.push(FromServer::Connected { ping_s: connected.ping });
                for (channel, sub) in connected.subs {
                    let publications = sub.publications.iter().filter_map(bytes);
                    all.extend(
                        publications.map(|data| FromServer::Publication { channel: channel.clone(), data }),
                    );
                }
            }
        } else if let Some(call) = self.waiting.remove(&message.id) {
            all.push(match message.error {
                Some(ServerError { code, message, temporary: false }) if CORE_REFUSES.contains(&code) => {
                    FromServer::CallRefused { call, code, message }
                }
                Some(_) => FromServer::Reply { call, payload: None },
                None => FromServer::Reply { call, payload: message.rpc.as_ref().and_then(bytes) },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_both_ways() {
        let mut session = ClientSession::default();
        assert_eq!(session.connect("t", "door"), r#"{"id":1,"connect":{"token":"t","name":"door"}}"#);
        let call = Call { id: 77, method: "time.sync", payload: br#"{"nonce":"n"}"#.to_vec() };
        assert_eq!(
            session.call(&call).unwrap(),
            r#"{"id":2,"rpc":{"method":"time.sync","data":{"nonce":"n"}}}"#
        );
        let frame = concat!(
            r#"{"id":1,"connect":{"client":"c","version":"x","ping":25,"pong":true,"subs":{"lockdown:a.b":{"publications":[{"data":{"k":1},"offset":3}]}}}}"#,
            "\n{}\n",
            r#"{"push":{"channel":"device:a.b","pub":{"data":{"kind":"nudge"}}}}"#,
            "\n",
            r#"{"id":2,"rpc":{"data":{"time":"x"}}}"#,
        );
        let lockdown =
            FromServer::Publication { channel: "lockdown:a.b".into(), data: br#"{"k":1}"#.to_vec() };
        let nudge =
            FromServer::Publication { channel: "device:a.b".into(), data: br#"{"kind":"nudge"}"#.to_vec() };
        let reply = FromServer::Reply { call: 77, payload: Some(br#"{"time":"x"}"#.to_vec()) };
        let expected = vec![FromServer::Connected { ping_s: 25 }, lockdown, FromServer::Ping, nudge, reply];
        assert_eq!(session.read(frame), Ok(expected));
    }

    #[test]
    fn errors_and_nonsense() {
        let mut session = ClientSession::default();
        session.connect("t", "door");
        session.call(&Call { id: 5, method: "device.sync", payload: b"{}".to_vec() });
        let unknown = FromServer::Reply { call: 5, payload: None };
        let error = r#"{"id":2,"error":{"code":100,"message":"internal","temporary":true}}"#;
        assert_eq!(session.read(error), Ok(vec![unknown]));
        assert_eq!(session.read(error), Ok(vec![]), "a reply twice");
        session.call(&Call { id: 6, method: "door.unlock", payload: b"{}".to_vec() });
        let refused = FromServer::CallRefused { call: 6, code: 429, message: "busy".into() };
        assert_eq!(session.read(r#"{"id":3,"error":{"code":429,"message":"busy"}}"#), Ok(vec![refused]));
        let refused = FromServer::Refused { code: 109, message: "token expired".into(), temporary: true };
        let refusal = r#"{"id":1,"error":{"code":109,"message":"token expired","temporary":true}}"#;
        assert_eq!(session.read(refusal), Ok(vec![refused]));
        for nonsense in ["[]", "{", "1", r#"{"id":"x"}"#, r#"{"push":[]}"#, "\u{0}"] {
            assert!(session.read(nonsense).is_err() || session.read(nonsense) == Ok(vec![]), "{nonsense}");
        }
        assert!(session.call(&Call { id: 6, method: "x", payload: b"not json".to_vec() }).is_none());
    }
}
