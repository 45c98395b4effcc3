//! A virtual phone: `phone unlock DOOR` signs a request with its enrolled key, sends it through a gateway and prints the
//! state that core answers. Status 0 when the door opened, 2 when it provably did not, 3 when nobody knows.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use keyway_devices::enrolling::{dice_of_the_system, enrol_phone, own_key};
use keyway_devices::enrolment::PhoneEnrolment;
use keyway_devices::net::{Forward, unlock};
use keyway_domain::command::State;
use keyway_domain::id::DoorId;
use keyway_domain::sign::Algorithm;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "A virtual phone")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Enrol at core with a one-time code; the key is made here.
    Enrol {
        /// core's address, like http://127.0.0.1:8080
        #[arg(long)]
        core: String,
        #[arg(long)]
        code: String,
        /// Where the enrolment goes, JSON. It holds the key in clear: right for a virtual phone only.
        #[arg(long)]
        enrolment: PathBuf,
    },
    /// Open a door once.
    Unlock {
        door: DoorId,
        /// The gateway; without it the one that core has named at enrolment.
        #[arg(long)]
        url: Option<String>,
        /// The enrolment file, JSON.
        #[arg(long)]
        enrolment: PathBuf,
        /// The door must not open later than this from now.
        #[arg(long, default_value_t = 8_000)]
        within_ms: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Enrol { core, code, enrolment } => enrol(&core, &code, &enrolment).await,
        Verb::Unlock { door, url, enrolment, within_ms } => open(door, url, &enrolment, within_ms).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("phone: {error:#}");
        ExitCode::FAILURE
    })
}

async fn enrol(core: &str, code: &str, file: &Path) -> anyhow::Result<ExitCode> {
    let mut dice = dice_of_the_system()?;
    let own = own_key(Algorithm::ES256, Forward::begin().now(), &mut dice);
    let enrolment = enrol_phone(core, code, own, &mut dice).await?;
    std::fs::write(file, serde_json::to_vec_pretty(&enrolment)?)
        .with_context(|| format!("could not write {}", file.display()))?;
    println!(r#"{{"enrolled":"{}","person":"{}"}}"#, enrolment.key.kid, enrolment.person);
    Ok(ExitCode::SUCCESS)
}

async fn open(door: DoorId, url: Option<String>, file: &Path, within_ms: u64) -> anyhow::Result<ExitCode> {
    let text = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    let enrolment: PhoneEnrolment = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a phone's enrolment", file.display()))?;
    let mut phone = enrolment.phone()?;
    let clock = Forward::begin();
    let random = dice_of_the_system()?.bytes();
    let endpoint = enrolment.endpoint(url)?;
    let state = unlock(&endpoint, &mut phone, door, within_ms, clock, random).await?;
    println!("{}", serde_json::to_string(&state)?);
    Ok(match state {
        Some(State::Executed) => ExitCode::SUCCESS,
        Some(state) if state.says_not_executed() => ExitCode::from(2),
        Some(_) | None => ExitCode::from(3),
    })
}
