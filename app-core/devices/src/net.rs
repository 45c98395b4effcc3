//! Doors and phones on a real socket. Owns reconnecting, the watch for a silent link, and wall-clock time handed to the
//! pure cores; everything that is decided is decided by them.

use crate::client::{ClientSession, FromServer};
use crate::dice::Dice;
use crate::door::{Call, Input};
use crate::enrolling::Renewal;
use crate::flash::Flash;
use crate::phone::PhoneCore;
use crate::scene::DoorShell;
use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use keyway_domain::id::DoorId;
use keyway_domain::message::CloudEvent;
use keyway_domain::message::publication::{Lockdown, ToDevice, ToPerson};
use keyway_domain::time::UnixMs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A gateway that does not answer within this is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a server may be late with its ping before the link counts as dead.
const PING_GRACE: Duration = Duration::from_secs(10);
/// Used until the server has said how often it pings.
const PING_DEFAULT_S: u32 = 25;
/// Reconnects back off from half a second to twenty, each time with jitter.
const BACKOFF_MS_MIN: u64 = 500;
const BACKOFF_MS_MAX: u64 = 20_000;

/// Where to, and as whom.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `ws://host:port/connection/websocket`. The token never stands in it.
    pub url: String,
    pub token: String,
    /// Where a new token comes from when this one is not taken any more.
    pub renewal: Option<Renewal>,
}

impl Endpoint {
    /// Fetches a new token, if it is known from where.
    async fn renew(&mut self, dice: &mut Dice) -> anyhow::Result<()> {
        if let Some(renewal) = &self.renewal {
            self.token = renewal.token(dice.nonce()).await?;
        }
        Ok(())
    }
}

/// Wall-clock time that only goes forward while the process runs.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    begun: UnixMs,
    at: Instant,
}

impl Forward {
    pub fn begin() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { begun: UnixMs(since.as_millis() as u64), at: Instant::now() }
    }

    pub fn now(&self) -> UnixMs {
        self.begun.plus(self.at.elapsed().as_millis() as u64)
    }

    /// Time goes by without anybody waiting for it.
    pub fn advance(&mut self, ms: u64) {
        self.begun = self.begun.plus(ms);
    }
}

/// The gateway does not take the token.
#[derive(Debug, thiserror::Error)]
#[error("refused with {code}: {message}")]
pub struct Refusal {
    pub code: u32,
    pub message: String,
}

struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: ClientSession,
    silent_after: Duration,
}

impl Link {
    async fn open(endpoint: &Endpoint, name: &str) -> anyhow::Result<Self> {
        // Every frame is a whole message: none waits until the one before is acknowledged.
        let at_once = true;
        let opening = tokio_tungstenite::connect_async_with_config(endpoint.url.as_str(), None, at_once);
        let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .context("the gateway did not answer within 10 s")?
            .with_context(|| format!("could not connect to {}", endpoint.url))?;
        let silent_after = Duration::from_secs(PING_DEFAULT_S.into()) + PING_GRACE;
        let mut link = Self { socket, session: ClientSession::default(), silent_after };
        let connect = link.session.connect(&endpoint.token, name);
        link.socket.send(Message::text(connect)).await?;
        Ok(link)
    }

    /// The next frame's messages; `None` when the link is over. Pings are answered here.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<FromServer>>> {
        let frame = tokio::time::timeout(self.silent_after, self.socket.next())
            .await
            .context("the link is silent")?;
        let text = match frame.transpose()? {
            Some(Message::Text(text)) => text,
            Some(Message::Close(_)) | None => return Ok(None),
            Some(_) => return Ok(Some(Vec::new())),
        };
        let all = self.session.read(&text)?;
        for one in &all {
            match one {
                FromServer::Ping => self.socket.send(Message::text("{}")).await?,
                FromServer::Connected { ping_s } if *ping_s > 0 => {
                    self.silent_after = Duration::from_secs((*ping_s).into()) + PING_GRACE;
                }
                FromServer::Refused { code, message, .. } => {
                    return Err(Refusal { code: *code, message: message.clone() }.into());
                }
                _ => {}
            }
        }
        Ok(Some(all))
    }

    async fn send(&mut self, calls: Vec<Call>) -> anyhow::Result<()> {
        for call in calls {
            if let Some(frame) = self.session.call(&call) {
                self.socket.send(Message::text(frame)).await?;
            }
        }
        Ok(())
    }
}

/// Something that is done to a door from outside.
#[derive(Debug, Clone)]
pub enum Hand {
    Input(Input),
    Jam(bool),
    CrashAt(crate::scene::CrashPoint),
    /// Everything that comes down is dropped, though the link lives.
    HalfDead(bool),
    /// The cable is pulled, or put back.
    Unplug(bool),
    /// So much time goes by at once at this door.
    Advance(u64),
}

/// Keeps a door at the gateway until `hands` is closed. `seen` is told after every input.
pub async fn run_door<F: Flash>(
    endpoint: &Endpoint,
    door: &mut DoorShell<F>,
    clock: Forward,
    hands: &mut mpsc::Receiver<Hand>,
    mut seen: impl FnMut(&DoorShell<F>),
) -> anyhow::Result<()> {
    let mut dice = Dice(clock.now().0 ^ u64::from(std::process::id()));
    let mut endpoint = endpoint.clone();
    let mut held = Held { clock, half_dead: false, unplugged: false };
    let mut backoff_ms = BACKOFF_MS_MIN;
    loop {
        let opened = if held.unplugged { None } else { Some(Link::open(&endpoint, "door").await) };
        match opened {
            None => {}
            Some(Ok(mut link)) => {
                backoff_ms = BACKOFF_MS_MIN;
                let ended = serve_door(&mut link, door, &mut held, hands, &mut seen).await;
                door.give(Input::Disconnected, held.clock.now());
                seen(door);
                match ended {
                    Ok(true) => return Ok(()),
                    // A token that is not taken: the next attempt has a new one.
                    Err(error) if error.is::<Refusal>() => {
                        let _ = endpoint.renew(&mut dice).await;
                    }
                    Ok(false) | Err(_) => {}
                }
            }
            Some(Err(_)) => backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX),
        }
        if door.is_down() {
            door.restart(dice.roll(), held.clock.now());
        }
        // Taps and sensors go on while there is no link.
        let wait = Duration::from_millis(backoff_ms / 2 + dice.below(backoff_ms));
        let until = tokio::time::Instant::now() + wait;
        while let Ok(hand) = tokio::time::timeout_at(until, hands.recv()).await {
            let Some(hand) = hand else { return Ok(()) };
            take_hand(door, hand, &mut held);
            seen(door);
        }
    }
}

/// What hands have done to the door's surroundings.
struct Held {
    clock: Forward,
    half_dead: bool,
    unplugged: bool,
}

fn take_hand<F: Flash>(door: &mut DoorShell<F>, hand: Hand, held: &mut Held) -> Vec<Call> {
    match hand {
        Hand::Input(input) => return door.give(input, held.clock.now()),
        Hand::Jam(jammed) => door.bolt.jammed = jammed,
        Hand::CrashAt(point) => door.crash_at = Some(point),
        Hand::HalfDead(dead) => held.half_dead = dead,
        Hand::Unplug(unplugged) => held.unplugged = unplugged,
        Hand::Advance(ms) => held.clock.advance(ms),
    }
    Vec::new()
}

/// True when the hands are gone, false when the link is.
async fn serve_door<F: Flash>(
    link: &mut Link,
    door: &mut DoorShell<F>,
    held: &mut Held,
    hands: &mut mpsc::Receiver<Hand>,
    seen: &mut impl FnMut(&DoorShell<F>),
) -> anyhow::Result<bool> {
    held.half_dead = false;
    let mut timer_at: Option<tokio::time::Instant> = None;
    // The timer of the link before has gone with it: one that is thought to be set would never be set again.
    door.timer_went();
    loop {
        if let Some(wait_ms) = door.timer_to_set(held.clock.now()) {
            timer_at = Some(tokio::time::Instant::now() + Duration::from_millis(wait_ms));
        }
        let timer = async {
            match timer_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let calls = tokio::select! {
            messages = link.next() => match messages? {
                None => return Ok(false),
                Some(_) if held.half_dead => Vec::new(),
                Some(messages) => messages.into_iter().filter_map(door_input).flat_map(|input| door.give(input, held.clock.now())).collect(),
            },
            hand = hands.recv() => match hand {
                None => return Ok(true),
                Some(hand) => take_hand(door, hand, held),
            },
            () = timer => {
                timer_at = None;
                door.timer_went();
                door.give(Input::Timer, held.clock.now())
            }
        };
        seen(door);
        link.send(calls).await?;
        if door.is_down() || held.unplugged {
            return Ok(false);
        }
    }
}

fn door_input(message: FromServer) -> Option<Input> {
    match message {
        FromServer::Connected { .. } => Some(Input::Connected),
        FromServer::Reply { call, payload } => Some(Input::Reply { id: call, payload }),
        FromServer::CallRefused { call, .. } => Some(Input::Reply { id: call, payload: None }),
        FromServer::Publication { channel, data } if channel.starts_with("device:") => {
            serde_json::from_slice::<CloudEvent<ToDevice>>(&data).ok().map(|event| Input::Push(event.data))
        }
        FromServer::Publication { channel, data } if channel.starts_with("lockdown:") => {
            serde_json::from_slice::<CloudEvent<Lockdown>>(&data)
                .ok()
                .map(|event| Input::Lockdown(event.data.statement))
        }
        FromServer::Publication { .. } | FromServer::Refused { .. } | FromServer::Ping => None,
    }
}

/// Core's answer to a phone that it will not do what was asked, with core's own code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("core refused the request ({code}): {message}")]
pub struct CallRefused {
    pub code: u32,
    pub message: String,
}

/// Opens one door by one phone and says what is known at the end: a final state, or nothing by the deadline.
pub async fn unlock(
    endpoint: &Endpoint,
    phone: &mut PhoneCore,
    door: DoorId,
    within_ms: u64,
    clock: Forward,
    random: [u8; 10],
) -> anyhow::Result<Option<keyway_domain::command::State>> {
    let mut endpoint = endpoint.clone();
    let mut link = Link::open(&endpoint, "phone").await?;
    let mut renewed = false;
    let begun = clock.now();
    let (request, call) =
        phone.unlock(door, begun, within_ms, random).context("too many unlocks are open")?;
    let mut first = Some(call);
    // A while longer than the deadline, since `unresolved` is said after it.
    let end = tokio::time::Instant::now() + Duration::from_millis(within_ms + 3_000);
    loop {
        let messages = tokio::select! {
            messages = link.next() => match messages {
                Err(error) if error.is::<Refusal>() && endpoint.renewal.is_some() && !renewed => {
                    renewed = true;
                    endpoint.renew(&mut Dice(u64::from(random[0]) ^ begun.0)).await?;
                    link = Link::open(&endpoint, "phone").await?;
                    continue;
                }
                messages => messages?,
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => Some(Vec::new()),
            () = tokio::time::sleep_until(end) => return Ok(None),
        };
        let Some(messages) = messages else { anyhow::bail!("the gateway closed the link") };
        for message in messages {
            match message {
                FromServer::Connected { .. } => link.send(first.take().into_iter().collect()).await?,
                FromServer::Reply { call, payload } => phone.replied(call, payload.as_deref()),
                FromServer::CallRefused { call, code, message } if phone.refused(call) == Some(request) => {
                    return Err(CallRefused { code, message }.into());
                }
                FromServer::Publication { channel, data } if channel.starts_with('#') => {
                    if let Ok(event) = serde_json::from_slice::<CloudEvent<ToPerson>>(&data) {
                        phone.pushed(&event.data);
                    }
                }
                FromServer::Publication { .. }
                | FromServer::Refused { .. }
                | FromServer::CallRefused { .. }
                | FromServer::Ping => {}
            }
        }
        if let Some((_, _, state)) = phone.known.iter().find(|(known, _, _)| *known == request) {
            return Ok(Some(*state));
        }
        let due = phone.repeat(clock.now());
        link.send(due).await?;
    }
}

/// A phone's link that stays open for several requests, as an app in somebody's hand has it.
pub struct PhoneLink(Link);

impl PhoneLink {
    /// Returns when the gateway has let the phone in.
    pub async fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let mut link = Link::open(endpoint, "phone").await?;
        loop {
            let messages = link.next().await?.context("the gateway closed the link")?;
            if messages.iter().any(|message| matches!(message, FromServer::Connected { .. })) {
                return Ok(Self(link));
            }
        }
    }

    /// Asks once, and returns the final state as soon as it is told, by the reply or on the personal channel.
    pub async fn unlock(
        &mut self,
        phone: &mut PhoneCore,
        door: DoorId,
        within_ms: u64,
        clock: Forward,
        random: [u8; 10],
    ) -> anyhow::Result<keyway_domain::command::State> {
        let (request, call) =
            phone.unlock(door, clock.now(), within_ms, random).context("too many unlocks are open")?;
        self.0.send(vec![call]).await?;
        loop {
            let messages = self.0.next().await?.context("the gateway closed the link")?;
            for message in messages {
                match message {
                    FromServer::Reply { call, payload } => phone.replied(call, payload.as_deref()),
                    FromServer::CallRefused { call, code, message }
                        if phone.refused(call) == Some(request) =>
                    {
                        return Err(CallRefused { code, message }.into());
                    }
                    FromServer::Publication { channel, data } if channel.starts_with('#') => {
                        if let Ok(event) = serde_json::from_slice::<CloudEvent<ToPerson>>(&data) {
                            phone.pushed(&event.data);
                        }
                    }
                    _ => {}
                }
            }
            if let Some((_, _, state)) = phone.known.iter().find(|(known, _, _)| *known == request) {
                return Ok(*state);
            }
        }
    }
}
