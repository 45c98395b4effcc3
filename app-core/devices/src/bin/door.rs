//! A virtual door. `door connect` keeps it at a gateway, with its memory in a file, and takes words on standard input;
//! `door rehearse` plays a short scene with everything in this process.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use keyway_devices::bolt::Cause;
use keyway_devices::door::Input;
use keyway_devices::enrolling::{dice_of_the_system, enrol_door, own_key};
use keyway_devices::enrolment::DoorEnrolment;
use keyway_devices::flash::{FileFlash, MemoryFlash};
use keyway_devices::net::{Forward, Hand, run_door};
use keyway_devices::scene::{CrashPoint, DoorShell, make};
use keyway_domain::credential::{CredentialKind, Digest};
use keyway_domain::event::EventKind;
use keyway_domain::sign::Algorithm;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::io::AsyncBufReadExt as _;
use tokio::sync::mpsc;

#[derive(Parser)]
#[command(
    about = "A virtual door",
    after_help = "Words on standard input of `connect`:\n  card TEXT | code DIGITS | force | close | jam | unjam | half-dead | alive | unplug | plug\n  advance SECONDS\n  crash before-write|after-write|after-move|after-outcome"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Stay connected to a gateway.
    Connect {
        /// The gateway; without it the one that core has named at enrolment.
        #[arg(long)]
        url: Option<String>,
        /// The enrolment file, JSON.
        #[arg(long)]
        enrolment: PathBuf,
        /// Ledger and events, one JSON record a line; made if it is not there.
        #[arg(long)]
        memory: PathBuf,
        /// Parts in a million that this door's clock is too fast.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        drift_ppm: i64,
        /// Time between judging a command and moving the bolt.
        #[arg(long, default_value_t = 0)]
        pause_ms: u64,
    },
    /// Enrol at core with a one-time code; the key is made here.
    Enrol {
        /// core's address, like http://127.0.0.1:8080
        #[arg(long)]
        core: String,
        #[arg(long)]
        code: String,
        /// Where the enrolment goes, JSON. It holds the key in clear: right for a virtual door only.
        #[arg(long)]
        enrolment: PathBuf,
        /// An Ed25519 key instead of P-256, which secure elements have.
        #[arg(long)]
        ed25519: bool,
    },
    /// A phone opens it, an hour without a link, a revoked card: in simulated time.
    Rehearse,
}

fn hand(line: &str, reader_key: &[u8; 32]) -> Option<Hand> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let tap = |kind| {
        let shown = Digest::of(reader_key, kind, None, rest.as_bytes());
        Hand::Input(Input::Tap { shown, pin: None })
    };
    Some(match (word, rest) {
        ("card", _) => tap(CredentialKind::Card),
        ("code", _) => tap(CredentialKind::Code),
        ("force", "") => Hand::Input(Input::Sensor(EventKind::DoorForcedOpen)),
        ("close", "") => Hand::Input(Input::Sensor(EventKind::DoorClosed)),
        ("jam", "") => Hand::Jam(true),
        ("unjam", "") => Hand::Jam(false),
        ("half-dead", "") => Hand::HalfDead(true),
        ("alive", "") => Hand::HalfDead(false),
        ("unplug", "") => Hand::Unplug(true),
        ("plug", "") => Hand::Unplug(false),
        ("advance", seconds) => Hand::Advance(seconds.parse::<u64>().ok()?.checked_mul(1000)?),
        ("crash", "before-write") => Hand::CrashAt(CrashPoint::BeforeWrite),
        ("crash", "after-write") => Hand::CrashAt(CrashPoint::AfterWrite),
        ("crash", "after-move") => Hand::CrashAt(CrashPoint::AfterMove),
        ("crash", "after-outcome") => Hand::CrashAt(CrashPoint::AfterOutcome),
        _ => return None,
    })
}

async fn connect(
    url: Option<String>,
    enrolment: PathBuf,
    memory: PathBuf,
    drift_ppm: i64,
    pause_ms: u64,
) -> anyhow::Result<()> {
    let text =
        std::fs::read(&enrolment).with_context(|| format!("could not read {}", enrolment.display()))?;
    let enrolment: DoorEnrolment = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a door's enrolment", enrolment.display()))?;
    let identity = Arc::new(enrolment.identity()?);
    let reader_key = identity.reader_key;
    let flash = FileFlash::open(&memory).with_context(|| format!("could not open {}", memory.display()))?;
    let clock = Forward::begin();
    let mut door = DoorShell::start(identity, flash, dice_of_the_system()?.roll(), clock.now())?;
    (door.drift_ppm, door.pause_before_move_ms) = (drift_ppm, pause_ms);
    // Hands are slower than a door; sixteen of them waiting is a script that runs away, which then waits.
    let (tell, mut hands) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match hand(&line, &reader_key) {
                Some(hand) => {
                    if tell.send(hand).await.is_err() {
                        return;
                    }
                }
                None => eprintln!("door: `{line}` is not a word it knows; see --help"),
            }
        }
    });
    let endpoint = enrolment.endpoint(url)?;
    let mut told = 0;
    let tell_motions = |door: &DoorShell<FileFlash>| {
        for motion in &door.bolt.motions[told..] {
            let cause = match motion.cause {
                Cause::Command(id) => id.to_string(),
                Cause::Tap(grant) => grant.to_string(),
            };
            println!(
                r#"{{"moved":"{cause}","at":"{}","open_ms":{}}}"#,
                motion.at.to_rfc3339(),
                motion.open_ms
            );
        }
        told = door.bolt.motions.len();
    };
    run_door(&endpoint, &mut door, clock, &mut hands, tell_motions).await
}

async fn enrol(core: &str, code: &str, file: &Path, ed25519: bool) -> anyhow::Result<()> {
    let mut dice = dice_of_the_system()?;
    let alg = if ed25519 { Algorithm::EdDSA } else { Algorithm::ES256 };
    let own = own_key(alg, Forward::begin().now(), &mut dice);
    let enrolment = enrol_door(core, code, own, &mut dice).await?;
    std::fs::write(file, serde_json::to_vec_pretty(&enrolment)?)
        .with_context(|| format!("could not write {}", file.display()))?;
    println!(r#"{{"enrolled":"{}","door":"{}"}}"#, enrolment.device, enrolment.door);
    Ok(())
}

fn rehearse() -> anyhow::Result<()> {
    let mut made = make(1, 2, 1, |_| MemoryFlash::default())?;
    let moved = |made: &keyway_devices::scene::Made<MemoryFlash>| made.scene.doors[0].bolt.motions.len();
    made.scene.connect(0);
    made.scene.run_for(1_000);
    println!(
        "door {} has synced: bundle {:?}",
        made.doors[0],
        made.scene.core.devices.values().next().map(|row| row.bundle_version())
    );
    made.scene.unlock(0, made.doors[0], 8_000);
    made.scene.run_for(1_000);
    println!(
        "a phone asks to open it: the bolt has moved {} time(s), the phone knows {:?}",
        moved(&made),
        made.scene.phones[0].known
    );
    made.scene.disconnect(0);
    made.scene.run_for(3_600_000);
    made.scene.tap(0, made.cards[0].1, None);
    println!("an hour without a link, a card: the bolt has moved {} time(s)", moved(&made));
    made.scene.core.revoke(made.cards[0].0);
    made.scene.connect(0);
    made.scene.run_for(1_000);
    made.scene.tap(0, made.cards[0].1, None);
    made.scene.run_for(1_000);
    println!("the card is revoked and shown again: the bolt has moved {} time(s)", moved(&made));
    for event in made.scene.core.devices.values().flat_map(|row| row.events.values()) {
        println!("  event {} {} {:?}", event.seq, event.kind.word(), event.reason);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Connect { url, enrolment, memory, drift_ppm, pause_ms } => {
            connect(url, enrolment, memory, drift_ppm, pause_ms).await
        }
        Verb::Enrol { core, code, enrolment, ed25519 } => enrol(&core, &code, &enrolment, ed25519).await,
        Verb::Rehearse => rehearse(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("door: {error:#}");
            ExitCode::FAILURE
        }
    }
}
