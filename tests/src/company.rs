//! A small company in one process: core, gateway and database together, a door, two people with phones and a card. Each
//! step does one thing with the programs as their user would, checks that it is so, and says how long it took.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::apart::{Tenant, id, socket_url};
use crate::program::{Program, Recipe, free_address, wait_for, wait_for_port};

const ADMIN_KEY: &str = "an-administrators-key-of-the-demo-only";
const WITHIN: Duration = Duration::from_secs(60);
/// What Ada shows at the reader.
const CARD: &str = "0042-1871";

pub struct Company {
    // Dropped in this order: who asks before who answers.
    pub door: Option<Program>,
    pub core: Program,
    pub tenant: Tenant,
    pub door_id: String,
    bin: PathBuf,
    core_address: String,
    folder: tempfile::TempDir,
}

/// What a phone was told, and how long it took.
pub struct Told {
    pub state: String,
    pub why: String,
    pub took: Duration,
}

impl Company {
    /// Starts core with the gateway in the same process, from the programs in this folder.
    pub fn start(bin: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyway-company").tempdir()?;
        let (core_address, gateway_address) = (free_address()?, free_address()?);
        let set = |name: &str, value: &str| (format!("KEYWAY_CORE_{name}"), value.to_owned());
        let core = Program::start(Recipe {
            name: "core".into(),
            program: bin.join("app-core"),
            arguments: ["serve", "--embedded", "--data", "data"].map(str::to_owned).into(),
            variables: vec![
                set("LISTEN", &core_address),
                set("PRIVATE_LISTEN", &free_address()?),
                set("EMBEDDED__GATEWAY_LISTEN", &gateway_address),
                set("EMBEDDED__GATEWAY_PRIVATE_LISTEN", &free_address()?),
                set("GATEWAY__SOCKET_URL", &socket_url(&gateway_address)),
                set("ADMIN__KEY", ADMIN_KEY),
                set("RELAY__PRESENCE_EVERY_MS", "500"),
            ],
            folder: folder.path().into(),
        })?;
        wait_for_port("core", &core_address)
            .and_then(|()| wait_for_port("the gateway", &gateway_address))
            .with_context(|| core.complaints())?;
        let tenant = Tenant::make(&core_address, ADMIN_KEY)?;
        let site = tenant.site()?;
        let door_id = tenant.door(&site, "Front door")?;
        Ok(Self { door: None, core, tenant, door_id, bin: bin.into(), core_address, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = Command::new(self.bin.join(program))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .with_context(|| format!("starting {program}"))?;
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
        Ok((output.status.code(), told))
    }

    fn code(&self, path: &str) -> Result<String> {
        let made = self.tenant.post(path, &json!({}))?;
        Ok(made["code"].as_str().with_context(|| format!("no code in {made}"))?.to_owned())
    }

    fn enrol(&self, program: &str, code: &str, file: &str) -> Result<(Option<i32>, String)> {
        let core = format!("http://{}", self.core_address);
        self.run(program, &["enrol", "--core", &core, "--code", code, "--enrolment", file])
    }

    /// The door enrols by a one-time code, which then opens nothing any more; answers what the second try was told.
    pub fn enrol_door(&mut self) -> Result<String> {
        let code = self.code(&format!("/v1/doors/{}/enrolments", self.door_id))?;
        let (status, told) = self.enrol("door", &code, "door.json")?;
        ensure!(status == Some(0), "the door could not enrol: {told}");
        let (status, told) = self.enrol("door", &code, "thief.json")?;
        ensure!(status != Some(0), "the code was taken twice");
        self.door = Some(Program::start(Recipe {
            name: "door".into(),
            program: self.bin.join("door"),
            arguments: ["connect", "--enrolment", "door.json", "--memory", "door.ndjson"]
                .map(str::to_owned)
                .into(),
            variables: Vec::new(),
            folder: self.folder.path().into(),
        })?);
        self.wait_for_bundle(0)?;
        Ok(told)
    }

    /// Somebody with a phone, who may open the door or not.
    pub fn person(&self, name: &str, may: bool) -> Result<String> {
        let person = id(&self.tenant.post("/v1/people", &json!({ "name": name }))?)?;
        if may {
            let grant = json!({ "who": { "person": person }, "scope": { "doors": [self.door_id] } });
            self.tenant.post("/v1/grants", &grant)?;
        }
        let code = self.code(&format!("/v1/people/{person}/enrolments"))?;
        let (status, told) = self.enrol("phone", &code, &format!("{name}.json"))?;
        ensure!(status == Some(0), "{name}'s phone could not enrol: {told}");
        Ok(person)
    }

    /// Gives somebody a card, and waits until the door may decide it alone.
    pub fn card(&self, person: &str) -> Result<Duration> {
        let (began, before) = (Instant::now(), self.bundles());
        let card = json!({ "person": person, "kind": "card", "shown": CARD });
        self.tenant.post("/v1/credentials", &card)?;
        self.wait_for_bundle(before)?;
        Ok(began.elapsed())
    }

    /// Bundles that the door has written down, whole or as a difference.
    fn bundles(&self) -> usize {
        let memory = std::fs::read_to_string(self.path("door.ndjson")).unwrap_or_default();
        memory.lines().filter(|line| line.contains("\"record\":\"bundle")).count()
    }

    fn wait_for_bundle(&self, before: usize) -> Result<()> {
        wait_for("the door holding a new bundle", WITHIN, || {
            let now = self.bundles();
            if now > before { Ok(()) } else { Err(format!("{now} bundles")) }
        })
    }

    fn device_state(&self) -> Result<Value> {
        let kept: Value = serde_json::from_slice(&std::fs::read(self.path("door.json"))?)?;
        let device = kept["device"].as_str().context("the door's own name")?;
        Ok(self.tenant.get(&format!("/v1/devices/{device}"))?["state"].clone())
    }

    /// How often the bolt has moved, by the door's own word.
    pub fn moved(&self) -> usize {
        let output = self.door.as_ref().map(Program::output).unwrap_or_default();
        output.lines().filter(|line| line.contains("\"moved\"")).count()
    }

    pub fn unlock(&self, name: &str, within_ms: u64) -> Result<Told> {
        let began = Instant::now();
        let (file, within) = (format!("{name}.json"), within_ms.to_string());
        let arguments = ["unlock", &self.door_id, "--enrolment", &file, "--within-ms", &within];
        let (_, told) = self.run("phone", &arguments)?;
        let took = began.elapsed();
        let said: Value = serde_json::from_str(&told).with_context(|| format!("the phone said: {told}"))?;
        let word = |field: &str| said[field].as_str().unwrap_or("").to_owned();
        Ok(Told { state: word("state"), why: word("why"), took })
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        self.door.as_mut().context("the door runs")?.tell(word);
        Ok(())
    }

    /// Pulls the cable, and waits until core knows.
    pub fn unplug(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.tell("unplug")?;
        wait_for("core showing the door as offline", WITHIN, || {
            let state = self.device_state().map_err(|error| format!("{error:#}"))?;
            if state["online"] == false { Ok(()) } else { Err(state.to_string()) }
        })?;
        Ok(began.elapsed())
    }

    pub fn an_hour_goes_by(&mut self) -> Result<()> {
        self.tell("advance 3600")
    }

    /// Shows a card; whether the bolt has moved by it.
    pub fn show(&mut self, known: bool) -> Result<bool> {
        let (before, events) = (self.moved(), self.own_events());
        self.tell(if known { "card 0042-1871" } else { "card 9999-9999" })?;
        // Granted or not, the door notes something; a granted one moves the bolt with it.
        let noted = if known { 2 } else { 1 };
        wait_for("the door noting the card", WITHIN, || {
            let now = self.own_events();
            if now >= events + noted { Ok(()) } else { Err(format!("{now} events")) }
        })?;
        Ok(self.moved() > before)
    }

    /// Events that the door has ever noted, by its own memory.
    pub fn own_events(&self) -> usize {
        let memory = std::fs::read_to_string(self.path("door.ndjson")).unwrap_or_default();
        memory.lines().filter(|line| line.contains("\"record\":\"event\"")).count()
    }

    /// Puts the cable back, and waits until core has every event that the door has noted; those made offline.
    pub fn plug(&mut self) -> Result<(usize, usize)> {
        self.tell("plug")?;
        wait_for("core having the door's events", WITHIN, || {
            let (own, core) = (self.own_events(), self.events().map_err(|error| format!("{error:#}"))?.len());
            if own == core { Ok(()) } else { Err(format!("the door has noted {own}, core has {core}")) }
        })?;
        let events = self.events()?;
        let offline = events.iter().filter(|one| one["event"]["offline"] == true).count();
        Ok((events.len(), offline))
    }

    fn events(&self) -> Result<Vec<Value>> {
        self.tenant.all("/v1/events")
    }

    /// The state of the newest command.
    pub fn last_command(&self) -> Result<String> {
        let page = self.tenant.get("/v1/commands?limit=1")?;
        Ok(page["items"][0]["state"].as_str().unwrap_or("").to_owned())
    }

    /// Exports the audit chain under a fresh checkpoint and verifies it; then bends one entry, and says what was found.
    pub fn verify(&self) -> Result<(String, String)> {
        self.tenant.post("/v1/audit/checkpoints", &json!({}))?;
        let tenant = self.tenant.id.as_str();
        let export = ["audit", "export", "--data", "data", "--tenant", tenant, "chain.txt"];
        let (status, told) = self.run("app-core", &export)?;
        ensure!(status == Some(0), "the export: {told}");
        let (status, held) = self.run("app-core", &["audit", "verify", "chain.txt"])?;
        ensure!(status == Some(0), "the chain does not hold: {held}");
        let chain = std::fs::read_to_string(self.path("chain.txt"))?;
        let bent = chain.replacen("command.denied", "command.allowed", 1);
        ensure!(bent != chain, "there is no denial in the chain");
        std::fs::write(self.path("bent.txt"), bent)?;
        let (status, found) = self.run("app-core", &["audit", "verify", "bent.txt"])?;
        ensure!(status != Some(0), "a changed chain was believed: {found}");
        let named = found.split_once(": entry ").map_or(found.clone(), |(_, rest)| format!("entry {rest}"));
        Ok((first_line(&held), first_line(&named)))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").to_owned()
}
