//! The processes under load and the sockets into them: a Redis, one or two servers (this gateway, or the `ws` +
//! `ioredis` peer), thousands of clients on loopback. It knows how each speaks; what is measured is not its business.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use keyway_bus::{RedisBackend, RedisOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use ws_gateway::frame::{ClientFrame, encode_client};

use crate::tokens::{Algorithm, Mint};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Gateway,
    Peer,
    /// nats-server with its own WebSocket port: no Redis behind it, one node.
    Nats,
}

/// Where the programs are.
pub struct Programs {
    pub gateway: PathBuf,
    pub peer: Option<PathBuf>,
    pub nats: Option<PathBuf>,
}

/// Processes that end with the run.
pub struct Started(pub Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A server with its Redis.
pub struct Stack {
    pub kind: Kind,
    pub server: Started,
    pub address: SocketAddr,
    /// Where publishers go: Redis, or the port of nats-server for programs.
    behind_port: u16,
    _behind: Option<Started>,
    mint: Option<Mint>,
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn wait_for(port: u16) -> anyhow::Result<()> {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("nothing listens on {port} after 10 s")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Stack {
    /// With `signed`, clients need tokens of that algorithm; otherwise everything is open.
    pub async fn start(kind: Kind, programs: &Programs, signed: Option<Algorithm>) -> anyhow::Result<Stack> {
        let (redis_port, port, private) = (free_port()?, free_port()?, free_port()?);
        if kind == Kind::Nats {
            return Stack::start_nats(programs, port, redis_port).await;
        }
        let redis = Command::new("redis-server")
            .args(["--port", &redis_port.to_string(), "--save", "", "--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server")?;
        let redis = Started(redis);
        wait_for(redis_port).await?;
        let mint = signed.map(Mint::new).transpose()?;
        let mut command = match (kind, &programs.peer) {
            (Kind::Peer, Some(folder)) => peer_command(folder, port, redis_port),
            (Kind::Peer | Kind::Nats, _) => bail!("--peer is needed for the peer"),
            (Kind::Gateway, _) => {
                gateway_command(programs, (local(port), local(private)), redis_port, mint.as_ref())
            }
        };
        let server = Started(command.spawn().context("starting the server")?);
        wait_for(port).await?;
        let address = local(port);
        Ok(Stack { kind, server, address, behind_port: redis_port, _behind: Some(redis), mint })
    }

    async fn start_nats(programs: &Programs, port: u16, behind_port: u16) -> anyhow::Result<Stack> {
        let path = std::env::temp_dir().join(format!("load-nats-{port}.conf"));
        let text = format!(
            "listen: \"127.0.0.1:{behind_port}\"\nwebsocket {{ listen: \"127.0.0.1:{port}\", no_tls: true }}\n"
        );
        std::fs::write(&path, text)?;
        let mut command = Command::new(programs.nats.as_ref().context("--nats")?);
        command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Started(command.spawn().context("starting nats-server")?);
        wait_for(port).await?;
        std::fs::remove_file(path)?;
        Ok(Stack { kind: Kind::Nats, server, address: local(port), behind_port, _behind: None, mint: None })
    }

    /// A second gateway on the same Redis.
    pub async fn another(&self, programs: &Programs) -> anyhow::Result<(Started, SocketAddr)> {
        let (port, private) = (free_port()?, free_port()?);
        let mut command = gateway_command(programs, (local(port), local(private)), self.behind_port, None);
        let server = Started(command.spawn().context("starting the second gateway")?);
        wait_for(port).await?;
        Ok((server, local(port)))
    }

    pub fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu_s(&self.server)
    }

    pub fn rss_kib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.0.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("VmRSS")?.parse()?)
    }

    /// Of Redis, or of nats-server for programs.
    pub fn redis_address(&self) -> SocketAddr {
        local(self.behind_port)
    }

    pub async fn backend(&self) -> anyhow::Result<Arc<RedisBackend>> {
        Ok(RedisBackend::connect(RedisOptions::new(format!("redis://{}", self.redis_address()))).await?)
    }

    /// The frame that connects client `number` and subscribes it.
    pub fn greeting(&self, number: usize, channel: &str) -> String {
        match (self.kind, &self.mint) {
            (Kind::Peer, _) => format!("{{\"sub\":\"{channel}\"}}"),
            (Kind::Nats, _) => format!("CONNECT {{\"verbose\":false}}\r\nSUB {channel} 1\r\nPING\r\n"),
            (Kind::Gateway, mint) => {
                let connect = mint
                    .as_ref()
                    .map_or(String::new(), |mint| format!("\"token\":\"{}\"", mint.token(number)));
                format!(
                    "{{\"id\":1,\"connect\":{{{connect}}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
                )
            }
        }
    }

    /// What the answer to a greeting contains.
    pub fn welcome(&self) -> &'static str {
        match self.kind {
            Kind::Gateway => "\"id\":2,\"subscribe\"",
            Kind::Peer => "{\"ok\":1}",
            Kind::Nats => "PONG",
        }
    }

    /// A socket that hears `channel`.
    pub async fn subscriber(&self, number: usize, channel: &str) -> anyhow::Result<TcpStream> {
        let mut stream = open(self.address, number, None).await?;
        send(&mut stream, &self.greeting(number, channel)).await?;
        expect(&mut stream, self.welcome()).await?;
        Ok(stream)
    }
}

fn peer_command(folder: &PathBuf, port: u16, redis_port: u16) -> Command {
    let mut command = Command::new("node");
    command.arg("peer.mjs").current_dir(folder);
    command.env("PORT", port.to_string()).env("REDIS", format!("redis://127.0.0.1:{redis_port}"));
    command
}

fn gateway_command(
    programs: &Programs,
    (public, private): (SocketAddr, SocketAddr),
    redis_port: u16,
    mint: Option<&Mint>,
) -> Command {
    let mut command = Command::new(&programs.gateway);
    for (name, value) in [
        ("LISTEN", public.to_string().as_str()),
        ("PRIVATE_LISTEN", &private.to_string()),
        ("BUS__KIND", "redis"),
        ("BUS__URL", &format!("redis://127.0.0.1:{redis_port}")),
        ("LOG__FILTER", "error"),
        ("LIMITS__ACCEPTS_PER_S", "0"),
        ("LIMITS__COMMANDS_PER_S", "0"),
        ("LIMITS__USER_COMMANDS_PER_S", "0"),
        // A stall of the generator's machine must not be counted against a device.
        ("LIMITS__CALLS_IN_FLIGHT_MAX", "10000"),
        ("NAMESPACES__LIVE__PRESENCE", "false"),
        ("NAMESPACES__KEPT__HISTORY_SIZE", "300"),
        ("NAMESPACES__KEPT__HISTORY_TTL_S", "60"),
    ] {
        command.env(format!("KEYWAY_GATEWAY_{name}"), value);
    }
    match mint {
        // Without personal channels: the difference to a ramp without tokens is then the token.
        Some(mint) => command
            .env("KEYWAY_GATEWAY_TOKENS__JWKS_FILE", mint.jwks_file())
            .env("KEYWAY_GATEWAY_PERSONAL", "false"),
        None => command.env("KEYWAY_GATEWAY_INSECURE", "true"),
    };
    command
}

/// User and system time of a process so far, in seconds.
pub fn cpu_s(process: &Started) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id()))?;
    let after_name = stat.rsplit_once(')').context("stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    // Linux counts in hundredths of a second on every platform we run on.
    Ok(ticks / 100.0)
}

/// Opens a WebSocket. 5,000 sockets a source address, and other addresses for every server: ports of the run before
/// are not free again for a minute.
pub async fn open(
    address: SocketAddr,
    number: usize,
    receive_buffer_bytes: Option<u32>,
) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    let source = Ipv4Addr::new(127, 1, (address.port() % 250) as u8, 1 + (number / 5_000) as u8);
    socket.bind(SocketAddr::from((source, 0)))?;
    let mut stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    expect(&mut stream, "\r\n\r\n").await?;
    Ok(stream)
}

pub async fn send(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let mut out = Vec::new();
    encode_client(&mut out, ClientFrame::Text, text.as_bytes(), [1, 2, 3, 4]);
    Ok(stream.write_all(&out).await?)
}

/// Reads until `wanted` has come, and gives everything read.
pub async fn expect(stream: &mut TcpStream, wanted: &str) -> anyhow::Result<String> {
    let mut seen = Vec::new();
    let mut chunk = [0u8; 2048];
    loop {
        let text = String::from_utf8_lossy(&seen);
        if text.contains(wanted) {
            return Ok(text.into_owned());
        }
        ensure!(!text.starts_with("HTTP/1.1 503"), "refused for now");
        let count = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut chunk)).await??;
        ensure!(count > 0, "closed before {wanted}: {text}");
        seen.extend_from_slice(&chunk[..count]);
    }
}

pub fn resp(words: &[&str]) -> String {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out
}
