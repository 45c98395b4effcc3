//! The load generator: starts a Redis, a server (this gateway, or the `ws` + `ioredis` peer) and thousands of
//! sockets, and prints what the *server's* CPU did per message. Absolute numbers drift with the machine; compare
//! rows of one run. See docs/performance.md.

mod crowd;
mod flow;
mod stack;
mod tokens;
mod traffic;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use keyway_bus::PublishOptions;

use crate::stack::{Kind, Programs, Stack};
use crate::tokens::Algorithm;
use crate::traffic::{Load, Row};

#[derive(Parser)]
#[command(about = "Load for the gateway and its peer, measured in the server's CPU")]
struct Arguments {
    /// The gateway's binary, built with --release
    #[arg(long)]
    gateway: PathBuf,
    /// A folder with peer.mjs and node_modules (tests/clients/gateway after `npm ci`); without it only the
    /// gateway is measured
    #[arg(long)]
    peer: Option<PathBuf>,
    /// nats-server (Debian has it), as another peer for what it has
    #[arg(long)]
    nats: Option<PathBuf>,
    /// Which scenes, in this order; without any, all
    #[arg(value_enum)]
    scenes: Vec<Scene>,
    /// Sockets of the ramps and of the storm
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// How often each scene is run; all results are printed
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Scene {
    /// One publication, one receiver, no history.
    Point,
    /// The same with history (the gateway only).
    History,
    /// Device -> backend -> phone, 4,000 a second.
    Relay,
    /// One publication, 1,000 receivers.
    Fanout,
    /// Idle sockets with one channel each: memory and connection rate, no token.
    Ramp,
    /// The same with an EdDSA token for each (the gateway only).
    RampEddsa,
    /// The same with an ES256 token for each (the gateway only).
    RampEs256,
    /// Publications one by one, 1,000 a second: what they take.
    Whisper,
    /// Device -> backend -> phone one by one, 1,000 a second: what it takes.
    RelayWhisper,
    /// One of twenty readers stops.
    Slow,
    /// A node dies and its clients come to another at once (the gateway only).
    Storm,
}

impl Scene {
    /// What the peer has not: history, tokens, recovery.
    fn is_ours_only(self) -> bool {
        matches!(self, Scene::History | Scene::RampEddsa | Scene::RampEs256 | Scene::Storm)
    }

    fn is_for(self, kind: Kind) -> bool {
        match kind {
            Kind::Gateway => true,
            Kind::Peer => !self.is_ours_only(),
            Kind::Nats => matches!(self, Scene::Point | Scene::Fanout | Scene::Whisper | Scene::Ramp),
        }
    }

    fn signed(self) -> Option<Algorithm> {
        match self {
            Scene::RampEddsa => Some(Algorithm::EdDsa),
            Scene::RampEs256 => Some(Algorithm::Es256),
            _ => None,
        }
    }

    async fn play(self, stack: &Stack, programs: &Programs, idle: usize) -> anyhow::Result<String> {
        let relay = |per_s, evenly| Load { count: 5 * per_s, receivers: 1, per_s, evenly };
        let row = match self {
            Scene::Point => flow::point(stack, "live", PublishOptions::default()).await?,
            Scene::History => flow::point(stack, "kept", PublishOptions::with_history(100, 60_000)).await?,
            Scene::Relay => flow::relay(stack, relay(4_000, false)).await?,
            Scene::Fanout => flow::fanout(stack).await?,
            Scene::Whisper => flow::whisper(stack).await?,
            Scene::RelayWhisper => flow::relay(stack, relay(1_000, true)).await?,
            Scene::Ramp | Scene::RampEddsa | Scene::RampEs256 => return crowd::ramp(stack, idle).await,
            Scene::Slow => return crowd::slow(stack).await,
            Scene::Storm => return crowd::storm(stack, programs, idle).await,
        };
        Ok(told(&row))
    }
}

fn told(row: &Row) -> String {
    let (p50, p99) = row.latency_us.unwrap_or_default();
    format!(
        "{} messages, {:.2} CPU-s, {:.0} per CPU-second, p50 {p50} us, p99 {p99} us",
        row.messages,
        row.cpu_s,
        row.messages as f64 / row.cpu_s,
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let programs = Programs { gateway: arguments.gateway, peer: arguments.peer, nats: arguments.nats };
    let mut kinds = vec![Kind::Gateway];
    kinds.extend(programs.peer.as_ref().map(|_| Kind::Peer));
    kinds.extend(programs.nats.as_ref().map(|_| Kind::Nats));
    let scenes = match arguments.scenes.as_slice() {
        [] => Scene::value_variants(),
        some => some,
    };
    for scene in scenes {
        for round in 0..arguments.rounds * kinds.len() {
            let kind = kinds[round % kinds.len()];
            if !scene.is_for(kind) {
                continue;
            }
            let stack = Stack::start(kind, &programs, scene.signed()).await?;
            println!("{kind:?} {scene:?}: {}", scene.play(&stack, &programs, arguments.idle).await?);
        }
    }
    Ok(())
}
