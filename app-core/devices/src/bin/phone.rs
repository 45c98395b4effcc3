//! A virtual phone: `phone unlock DOOR` signs a request with its enrolled key, sends it through a gateway and prints the
//! state that core answers. Status 0 when the door opened, 2 when it provably did not, 3 when nobody knows.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use keyway_devices::dice::Dice;
use keyway_devices::enrolment::PhoneEnrolment;
use keyway_devices::net::{Endpoint, Forward, unlock};
use keyway_domain::command::State;
use keyway_domain::id::DoorId;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "A virtual phone")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Open a door once.
    Unlock {
        door: DoorId,
        #[arg(long, default_value = "ws://127.0.0.1:8000/connection/websocket")]
        url: String,
        /// The enrolment file, JSON.
        #[arg(long)]
        enrolment: PathBuf,
        /// The door must not open later than this from now.
        #[arg(long, default_value_t = 8_000)]
        within_ms: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let Verb::Unlock { door, url, enrolment, within_ms } = Arguments::parse().verb;
    let text =
        std::fs::read(&enrolment).with_context(|| format!("could not read {}", enrolment.display()))?;
    let enrolment: PhoneEnrolment = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a phone's enrolment", enrolment.display()))?;
    let mut phone = enrolment.phone()?;
    let clock = Forward::begin();
    let random = Dice(clock.now().0 ^ u64::from(std::process::id()) << 40).bytes();
    let endpoint = Endpoint { url, token: enrolment.token };
    let state = unlock(&endpoint, &mut phone, door, within_ms, clock, random).await?;
    println!("{}", serde_json::to_string(&state)?);
    Ok(match state {
        Some(State::Executed) => ExitCode::SUCCESS,
        Some(state) if state.says_not_executed() => ExitCode::from(2),
        Some(_) | None => ExitCode::from(3),
    })
}
