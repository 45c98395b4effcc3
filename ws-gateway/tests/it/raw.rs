//! A WebSocket client of a page: exactly the frames a test wants to send, and what came back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ws_gateway::frame::{ClientFrame, encode_client};

/// Generous: the machine may be busy with other builds.
const WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Line(String),
    Binary(Vec<u8>),
    Close(u16, String),
    /// The socket ended without a close frame.
    Cut,
}

impl Seen {
    pub fn line(self) -> String {
        match self {
            Seen::Line(line) => line,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    pub fn json(self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }
}

pub struct Raw {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    lines: std::collections::VecDeque<Seen>,
}

/// None when nobody answers in time, or not with an upgrade.
pub async fn open_within(address: SocketAddr, within: Duration) -> Option<Raw> {
    let opening = async move { upgrade(address, "/connection/websocket", "").await.ok()?.ok() };
    tokio::time::timeout(within, opening).await.ok().flatten()
}

/// The status line's code when the upgrade is refused.
pub async fn try_open(address: SocketAddr, path: &str, headers: &str) -> Result<Raw, u16> {
    let upgrading = upgrade(address, path, headers);
    tokio::time::timeout(WITHIN, upgrading)
        .await
        .expect("no answer to the upgrade")
        .expect("the upgrade was cut")
}

async fn upgrade(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<Result<Raw, u16>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(if status == 101 {
        Ok(Raw { stream, buffer: Vec::new(), lines: Default::default() })
    } else {
        Err(status)
    })
}

impl Raw {
    pub async fn open(address: SocketAddr) -> Raw {
        try_open(address, "/connection/websocket", "").await.expect("upgraded")
    }

    /// Opens and connects; the connect reply is dropped.
    pub async fn connected(address: SocketAddr) -> Raw {
        let mut raw = Raw::open(address).await;
        raw.send(r#"{"id":1,"connect":{}}"#).await;
        let reply = raw.next().await.json();
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        raw
    }

    pub async fn connected_with(address: SocketAddr, token: &str) -> Raw {
        let mut raw = Raw::open(address).await;
        raw.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)).await;
        let reply = raw.next().await.json();
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        raw
    }

    pub async fn send(&mut self, text: &str) {
        self.send_frame(ClientFrame::Text, text.as_bytes()).await;
    }

    pub async fn send_frame(&mut self, kind: ClientFrame, payload: &[u8]) {
        let mut out = Vec::new();
        encode_client(&mut out, kind, payload, [7, 77, 177, 17]);
        self.send_bytes(&out).await;
    }

    /// A peer that has closed already is no fault of the test: what it said is read next.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _closed_meanwhile = self.stream.write_all(bytes).await;
    }

    /// The next message, or how the connection ended.
    pub async fn next(&mut self) -> Seen {
        match tokio::time::timeout(WITHIN, self.receive()).await {
            Ok(seen) => seen,
            Err(_) => panic!("nothing came within {WITHIN:?}; buffered {:?}", self.buffer),
        }
    }

    /// Sends one command and gives the reply to it; what comes before it is dropped.
    pub async fn ask(&mut self, text: &str) -> serde_json::Value {
        let id = serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].clone();
        self.send(text).await;
        loop {
            let reply = self.next().await.json();
            if reply["id"] == id {
                return reply;
            }
        }
    }

    /// Everything up to the end of the connection, and the end.
    pub async fn end(&mut self) -> Seen {
        loop {
            match self.next().await {
                Seen::Line(_) | Seen::Binary(_) => {}
                end => return end,
            }
        }
    }

    async fn receive(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.lines.pop_front() {
                return seen;
            }
            if self.take_frame() {
                continue;
            }
            let mut chunk = vec![0; 64 * 1024];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return Seen::Cut,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn take_frame(&mut self) -> bool {
        let [first, second, ..] = self.buffer[..] else { return false };
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (length, start) = match second {
            126 if self.buffer.len() >= 4 => {
                (u64::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])), 4)
            }
            127 if self.buffer.len() >= 10 => {
                (u64::from_be_bytes(self.buffer[2..10].try_into().unwrap()), 10)
            }
            126 | 127 => return false,
            short => (u64::from(short), 2),
        };
        let end = start + length as usize;
        if self.buffer.len() < end {
            return false;
        }
        let payload: Vec<u8> = self.buffer[start..end].to_vec();
        self.buffer.drain(..end);
        match first {
            0x81 => {
                let text = String::from_utf8(payload).unwrap();
                self.lines.extend(text.split('\n').map(|line| Seen::Line(line.to_owned())));
            }
            0x82 => self.lines.push_back(Seen::Binary(payload)),
            0x88 if payload.len() < 2 => self.lines.push_back(Seen::Close(1005, String::new())),
            0x88 => self.lines.push_back(Seen::Close(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            )),
            0x8a => self.lines.push_back(Seen::Line(format!("PONG {}", String::from_utf8(payload).unwrap()))),
            other => panic!("unexpected frame {other:#x}"),
        }
        true
    }
}
