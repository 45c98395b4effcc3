//! `cargo demo`: a whole environment, from nothing, on this machine. It builds the programs, fetches and starts the AWS
//! emulator, applies `staging`, shows that applying again would do nothing; then a door enrols and is opened by a phone;
//! and it says how to look around.
//!
//! It tells what happens as it happens and checks what it tells: with `--once` it ends by itself, with status 0 only
//! when everything it said was true. It owns no logic of `infra`; it runs the same program with the same arguments.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::account::{self, Thing};
use e2e::company::Company;
use e2e::emulator::{Emulator, Step};
use e2e::infra::NOTHING_TO_DO;
use e2e::{FaultProxy, Faults, place, scene};
use tokio::signal::unix::{SignalKind, signal};

const ENVIRONMENT: &str = scene::STAGING;
/// What a shell shows for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
const HELP: &str = "\
cargo demo            apply `staging` to an AWS emulator on this machine, open a door by a phone, and keep it until Ctrl-C
cargo demo --once     the same, then take everything away again and end with status 0
cargo demo --door     the door and its phones only: no AWS emulator, no Python, ready in two minutes

It needs Rust and Python 3.10 or newer; no AWS account, no Docker. The first run compiles the AWS SDKs (about ten
minutes on two cores) and fetches the emulator; later runs take seconds.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--").collect();
    let what = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => What::Everything { once: false },
        ["--once"] => What::Everything { once: true },
        ["--door"] => What::Door,
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("cargo demo does not know {other:?}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    let told = Ending::listen().and_then(|ending| match demo(&what, &ending) {
        // What failed, failed because it was told to stop.
        Err(_) if ending.came() => Ok(ExitCode::from(INTERRUPTED)),
        told => told.map(|()| ExitCode::SUCCESS),
    });
    match told {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\ncargo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

enum What {
    Everything { once: bool },
    Door,
}

fn demo(what: &What, ending: &Ending) -> Result<()> {
    let story = Story::new();
    let What::Everything { once } = *what else {
        story.chapter("1. Build the programs", "core, a door and a phone");
        let program = build(&story, "app-core", &place::BUILD_DOOR)?;
        return doors(&story, 2, program.parent().context("the folder of the programs")?);
    };
    story.chapter("1. Build the programs", "the first time this compiles the AWS SDKs: about ten minutes");
    let program = build(&story, "infra", &place::BUILD_PROGRAMS)?;
    story.chapter(
        "2. Start an AWS account that is not one",
        "moto server, with AWS's refusals put back (docs/testing.md)",
    );
    let emulator = Emulator::start(&mut |step| story.fetching(&step)).context("the AWS emulator")?;
    story.done(&format!("the emulator answers at {}", emulator.url()));
    let proxy = FaultProxy::start(emulator.address())?;
    let infra = Program { program, url: proxy.url() };
    story.chapter("3. Apply `staging`", "infra/environments/staging.toml: one file, a whole environment");
    let before = account::standing(emulator.address())?;
    proxy.begin(Faults::default());
    let began = Instant::now();
    let status = infra.run(&["apply", "--environment", ENVIRONMENT, "--yes"])?;
    ensure!(status == Some(NOTHING_TO_DO), "`infra apply` ended with {status:?}\n{}", emulator.complaints());
    let counts = proxy.counts();
    let standing = account::standing(emulator.address())?;
    let made: Vec<Thing> = standing.into_iter().filter(|thing| !before.contains(thing)).collect();
    ensure!(!made.is_empty(), "`infra apply` ended well and nothing stands");
    let (changing, reading, seconds) = (counts.changing, counts.reading, began.elapsed().as_secs_f64());
    story.done(&format!(
        "{} objects in {seconds:.1} s, by {changing} changing and {reading} reading API calls",
        made.len()
    ));
    story.chapter(
        "4. Plan again",
        "nothing was written down anywhere: `infra` reads the account and compares",
    );
    proxy.begin(Faults::default());
    let status = infra.run(&["plan", "--environment", ENVIRONMENT])?;
    ensure!(
        status == Some(NOTHING_TO_DO),
        "the second plan is not empty (status {status:?})\n{}",
        emulator.complaints()
    );
    ensure!(proxy.counts().changing == 0, "a plan changed something:\n{}", proxy.summary());
    story.done(&format!("the second plan is empty, after {} reading calls", proxy.counts().reading));
    story.chapter("5. What stands there", "as the emulator itself knows it");
    story.standing(&made);
    doors(&story, 6, infra.program.parent().context("the folder of the programs")?)?;
    if once {
        return take_away(&story, &infra, &emulator, &before);
    }
    story.look_around(&emulator.url(), &infra.program.display().to_string(), &made)?;
    ending.wait();
    println!();
    story.done("ended; the emulated account is gone with its process");
    Ok(())
}

/// A small company in one process, and what happens at its door.
fn doors(story: &Story, chapter: u32, bin: &Path) -> Result<()> {
    story.chapter(
        &format!("{chapter}. One door"),
        "core, gateway and database in one process; door and phones as programs of their own",
    );
    let began = Instant::now();
    let mut company = Company::start(bin)?;
    story.done(&format!(
        "core and gateway are up, with a tenant, a site and a door ({})",
        told(began.elapsed())
    ));
    let refused = company.enrol_door()?;
    story.done("the door has enrolled by a one-time code, with a key that it made itself");
    ensure!(refused.contains("410 gone"), "the second use of the code was told: {refused}");
    story.done("the same code a second time: 410 gone");
    let ada = company.person("Ada", true)?;
    company.person("Bob", false)?;
    story.done("Ada and Bob have enrolled their phones; Ada has a grant");
    company.unlock("Ada", 8_000)?; // The first one pays for what is read once.
    let opened = company.unlock("Ada", 8_000)?;
    ensure!(opened.state == "executed" && company.moved() == 2, "Ada's phone was told {}", opened.state);
    story.done(&format!(
        "Ada opens it by phone: executed, the bolt has moved ({} from start to end of the phone's program)",
        told(opened.took)
    ));
    let denied = company.unlock("Bob", 8_000)?;
    ensure!(
        (denied.state.as_str(), denied.why.as_str(), company.moved()) == ("denied", "no_grant", 2),
        "Bob's phone was told {} {}, the bolt has moved {} times",
        denied.state,
        denied.why,
        company.moved()
    );
    story.done(&format!(
        "Bob tries the same: denied, no_grant; the bolt has not moved ({})",
        told(denied.took)
    ));
    let known = company.card(&ada)?;
    story.done(&format!("Ada gets a card; the door knows it {} later", told(known)));
    an_hour(story, &mut company)?;
    let (holds, found) = company.verify()?;
    story.done(&holds);
    story.done(&format!("one word of one entry changed: {found}"));
    Ok(())
}

/// The same door without a cable.
fn an_hour(story: &Story, company: &mut Company) -> Result<()> {
    let noticed = company.unplug()?;
    story.done(&format!("the cable is pulled; core shows the door as offline after {}", told(noticed)));
    company.an_hour_goes_by()?;
    ensure!(company.show(true)?, "Ada's card did not open the door without a link");
    ensure!(!company.show(false)?, "a foreign card opened the door");
    story.done("an hour later, by the door's own clock: Ada's card opens it, a foreign card does not");
    let moved = company.moved();
    let late = company.unlock("Ada", 1_500)?;
    ensure!(late.state == "expired", "an unlock for a door that is away ended as {:?}", late.state);
    story.done("Ada tries by phone: expired, and it is certain that no door has seen it");
    let (events, offline) = company.plug()?;
    ensure!(offline >= 2, "core has {events} events, {offline} of them made offline");
    ensure!(company.moved() == moved, "the door has opened late");
    story.done(&format!(
        "the cable is back: all {events} events are in core, {offline} decided offline; nothing opened late"
    ));
    Ok(())
}

fn told(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

fn take_away(story: &Story, infra: &Program, emulator: &Emulator, before: &[Thing]) -> Result<()> {
    story.chapter("7. Take it away", "destroy, in the order that AWS allows");
    let arguments = scene::destroy_arguments(ENVIRONMENT);
    let status = infra.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(
        status == Some(NOTHING_TO_DO),
        "`infra destroy` ended with {status:?}\n{}",
        emulator.complaints()
    );
    let left = account::standing(emulator.address())?;
    let left: Vec<Thing> = left
        .into_iter()
        .filter(|thing| !before.contains(thing) && !account::is_final_snapshot(thing))
        .collect();
    ensure!(left.is_empty(), "destroy left {}", account::by_kind(&left));
    story.done("nothing is left but the stores' final snapshots");
    Ok(())
}

struct Program {
    program: std::path::PathBuf,
    url: String,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(place::repository()).env("AWS_ENDPOINT_URL", &self.url);
        for (key, value) in CREDENTIALS {
            command.env(key, value);
        }
        // A person's own configuration must not lead this to a real account.
        for key in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            command.env_remove(key);
        }
        command
    }

    /// Runs it before the reader's eyes.
    fn run(&self, arguments: &[&str]) -> Result<Option<i32>> {
        println!("\n   $ infra {}\n", arguments.join(" "));
        std::io::stdout().flush()?;
        Ok(self.command(arguments).stdin(Stdio::null()).status().context("starting infra")?.code())
    }
}

const CREDENTIALS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

fn build(story: &Story, name: &str, arguments: &[&str]) -> Result<std::path::PathBuf> {
    if std::env::var_os("KEYWAY_BIN_DIR").is_some() {
        let program = place::binary(name)?;
        story.done(&format!("{} (KEYWAY_BIN_DIR)", program.display()));
        return Ok(program);
    }
    let target = place::target()?;
    let began = Instant::now();
    let built = place::cargo()
        .args(arguments)
        .env("CARGO_TARGET_DIR", &target)
        .stdin(Stdio::null())
        .status()
        .context("starting cargo")?;
    ensure!(built.success(), "cargo could not build {name}");
    let program = target.join("debug").join(name);
    ensure!(program.is_file(), "cargo built no {}", program.display());
    story.done(&format!("{} ({:.1} s)", program.display(), began.elapsed().as_secs_f64()));
    Ok(program)
}

/// Ctrl-C and SIGTERM, heard from the start: the programs that run before the reader's eyes get the same signal and end
/// by themselves; this one ends after them, and the emulator with it.
struct Ending {
    heard: mpsc::Receiver<()>,
}

impl Ending {
    fn listen() -> Result<Self> {
        let (sender, heard) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(mut ended) = signal(SignalKind::terminate()) else { return };
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = ended.recv() => {}
                }
            });
            let _ = sender.send(());
        });
        Ok(Self { heard })
    }

    fn came(&self) -> bool {
        self.heard.try_recv().is_ok()
    }

    fn wait(&self) {
        let _ = self.heard.recv();
    }
}

/// How it is told: plain words, colour only where someone looks at it.
struct Story {
    colour: bool,
}

impl Story {
    fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !unwanted }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn chapter(&self, title: &str, why: &str) {
        println!("\n{} - {why}", self.paint("1", title));
        let _ = std::io::stdout().flush();
    }

    fn done(&self, what: &str) {
        println!("   {} {what}", self.paint("32", "ok"));
        let _ = std::io::stdout().flush();
    }

    fn fetching(&self, step: &Step<'_>) {
        match step {
            Step::Environment(path) => println!("   fetching it once, into {}", path.display()),
            Step::Package { number, of, name } => println!("   {number:>2} of {of} {name}"),
        }
    }

    fn standing(&self, made: &[Thing]) {
        let mut kinds: BTreeMap<&str, Vec<&Thing>> = BTreeMap::new();
        for thing in made {
            kinds.entry(&thing.kind).or_default().push(thing);
        }
        for (kind, things) in kinds {
            let names: Vec<&str> =
                things.iter().map(|thing| thing.address().unwrap_or(&thing.id)).take(3).collect();
            let more = if things.len() > names.len() { ", ..." } else { "" };
            println!("   {:>3} {kind:<22} {}{more}", things.len(), names.join(", "));
        }
    }

    fn look_around(&self, url: &str, infra: &str, made: &[Thing]) -> Result<()> {
        println!("\n{} - in another terminal, in this folder:\n", self.paint("1", "7. Look around"));
        println!("   export AWS_ENDPOINT_URL={url}");
        for (key, value) in CREDENTIALS {
            println!("   export {key}={value}");
        }
        println!("\n   # what stands, and how it hangs together");
        println!("   {infra} outputs --environment {ENVIRONMENT}");
        println!("   {infra} graph --environment {ENVIRONMENT} --format mermaid");
        if let Some(group) = made.iter().find(|thing| thing.kind == "security-group") {
            let python = e2e::emulator::python(&mut |_| ())?;
            let open = serde_json::json!([{ "service": "ec2", "call": "authorize_security_group_ingress", "arguments": {
                "GroupId": group.id, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0" } }]);
            println!("\n   # open a port to the world behind its back, then see it found and closed");
            println!("   {} -B tests/emulator/behind.py {url} '{open}'", python.display());
            println!("   {infra} plan --environment {ENVIRONMENT}");
            println!("   {infra} apply --environment {ENVIRONMENT}");
        }
        println!("\n   # take it all away");
        println!("   {infra} {}", scene::destroy_arguments(ENVIRONMENT).join(" ").replace(" --yes", ""));
        println!("\n{}", self.paint("1", "Ctrl-C ends it."));
        let _ = std::io::stdout().flush();
        Ok(())
    }
}
