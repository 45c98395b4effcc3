//! As much HTTP/1.1 as lies between an AWS SDK and the emulator: one message in, one message out, on a blocking stream.
//!
//! Bodies have a length or end with the connection; a chunked *answer* is read, a chunked *request* is refused, because
//! no SDK call of ours sends one. It knows nothing of AWS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// An SDK's largest request here is a web ACL of some 100 kB, the largest answer the IAM account listing of a few MB.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The emulator answers in milliseconds; only a broken one takes longer.
const ANSWER_S_MAX: u64 = 60;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `POST / HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub first_line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The status of an answer; 0 when the first line carries none.
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub fn answer(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let reason = if status < 400 { "OK" } else { "Refused" };
        Self {
            first_line: format!("HTTP/1.1 {status} {reason}"),
            headers: vec![("Content-Type".into(), content_type.into())],
            body: body.into(),
        }
    }

    fn chunked(&self) -> bool {
        self.header("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// `None` when the other side closed between two messages.
    pub fn read_request(stream: &mut BufReader<TcpStream>) -> Result<Option<Self>> {
        let Some(mut message) = Self::read_head(stream)? else { return Ok(None) };
        if message.chunked() {
            bail!("a chunked request: {}", message.first_line);
        }
        let length = message.length()?.unwrap_or(0);
        message.read_body(stream, length)?;
        Ok(Some(message))
    }

    pub fn read_answer(stream: &mut BufReader<TcpStream>) -> Result<Self> {
        let mut message = Self::read_head(stream)?.context("the server closed without an answer")?;
        if message.chunked() {
            message.read_chunks(stream)?;
        } else if let Some(length) = message.length()? {
            message.read_body(stream, length)?;
        } else if !matches!(message.status(), 204 | 304) {
            stream.by_ref().take(BODY_BYTES_MAX as u64).read_to_end(&mut message.body)?;
        }
        Ok(message)
    }

    fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return if lines.is_empty() { Ok(None) } else { bail!("closed within a head") };
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            match (line.is_empty(), lines.is_empty()) {
                (true, false) => break,
                (true, true) => {}
                (false, _) => lines.push(line),
            }
        }
        let mut lines = lines.into_iter();
        let first_line = lines.next().expect("the loop ends with at least one line");
        let headers = lines
            .filter_map(|line| {
                line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            })
            .collect();
        Ok(Some(Self { first_line, headers, body: Vec::new() }))
    }

    fn length(&self) -> Result<Option<usize>> {
        let Some(length) = self.header("Content-Length") else { return Ok(None) };
        let length: usize = length.parse().with_context(|| format!("Content-Length {length:?}"))?;
        if length > BODY_BYTES_MAX {
            bail!("a body of {length} bytes");
        }
        Ok(Some(length))
    }

    fn read_body(&mut self, stream: &mut BufReader<TcpStream>, length: usize) -> Result<()> {
        self.body = vec![0; length];
        stream.read_exact(&mut self.body).context("closed within a body")
    }

    fn read_chunks(&mut self, stream: &mut BufReader<TcpStream>) -> Result<()> {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)
                .context("a chunk's size")?;
            if self.body.len() + size > BODY_BYTES_MAX {
                bail!("an answer of more than {BODY_BYTES_MAX} bytes");
            }
            let start = self.body.len();
            self.body.resize(start + size, 0);
            stream.read_exact(&mut self.body[start..])?;
            stream.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Writes it with a `Content-Length`, whatever framing it came with.
    pub fn write(&self, stream: &mut TcpStream, more_headers: &[(&str, &str)]) -> Result<()> {
        let mut text = format!("{}\r\n", self.first_line);
        let replaced = ["content-length", "transfer-encoding", "connection", "keep-alive"];
        for (key, value) in &self.headers {
            if !replaced.contains(&key.to_ascii_lowercase().as_str()) {
                text.push_str(&format!("{key}: {value}\r\n"));
            }
        }
        for (key, value) in more_headers {
            text.push_str(&format!("{key}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        // One write: two packets of a small message would wait for each other's acknowledgement.
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes)?;
        Ok(())
    }
}

/// One exchange on a connection of its own.
pub fn exchange(address: &str, request: &Message) -> Result<Message> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX)))?;
    request.write(&mut stream, &[("Connection", "close")])?;
    Message::read_answer(&mut BufReader::new(stream))
        .with_context(|| format!("{} of {address}", request.first_line))
}

pub fn get(address: &str, path: &str) -> Result<Message> {
    let request = Message {
        first_line: format!("GET {path} HTTP/1.1"),
        headers: vec![("Host".into(), address.into())],
        body: Vec::new(),
    };
    exchange(address, &request)
}
