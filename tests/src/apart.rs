//! Keyway as it is run when it has grown: two gateways, core, Redis and Postgres, each a process of its own; and virtual
//! doors and phones as processes beside them. Owns their configuration and their start.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http::{self, Message};
use crate::place;
use crate::postgres::Postgres;
use crate::program::{Program, Recipe, free_address, wait_for, wait_for_port};

const ADMIN_KEY: &str = "an-administrators-key-of-the-tests-only";
const ROOT_SECRET: &str = "a-root-secret-of-the-tests-only-0123456789";
const READY_MAX: std::time::Duration = std::time::Duration::from_secs(60);

pub struct Apart {
    // Dropped in this order: those who ask before those who answer.
    pub gateways: Vec<Program>,
    pub core: Program,
    pub redis: Program,
    pub postgres: Postgres,
    pub core_address: String,
    pub gateway_addresses: Vec<String>,
    redis_address: String,
    redis_lives: u32,
    pub folder: tempfile::TempDir,
}

/// A tenant, and a key with every right in it.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub core: String,
    pub id: String,
    key: String,
}

fn variables(prefix: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (format!("{prefix}{name}"), (*value).to_owned())).collect()
}

impl Apart {
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyway-apart").tempdir()?;
        let postgres = Postgres::start();
        postgres.sql("postgres", "CREATE DATABASE keyway");
        let redis_address = free_address()?;
        let redis = Program::start(redis_recipe(folder.path(), &redis_address, 1)?)?;
        wait_for_port("redis-server", &redis_address)?;
        let redis_url = format!("redis://{redis_address}");
        let (core_address, core_private) = (free_address()?, free_address()?);
        let gateway_addresses = vec![free_address()?, free_address()?];
        let core = Program::start(Recipe {
            name: "core".into(),
            program: place::binary("app-core")?,
            arguments: vec!["serve".into()],
            variables: variables(
                "KEYWAY_CORE_",
                &[
                    ("LISTEN", &core_address),
                    ("PRIVATE_LISTEN", &core_private),
                    ("STORE__URL", &postgres.url("keyway")),
                    ("BUS__URL", &redis_url),
                    ("KEYS__ROOT_SECRET", ROOT_SECRET),
                    ("ADMIN__KEY", ADMIN_KEY),
                    ("GATEWAY__SOCKET_URL", &socket_url(&gateway_addresses[0])),
                    ("LOG__FILTER", "warn"),
                ],
            ),
            folder: folder.path().into(),
        })?;
        wait_for_port("core", &core_address)?;
        let mut gateways = Vec::new();
        for (number, address) in gateway_addresses.iter().enumerate() {
            let recipe = Recipe {
                name: format!("gateway{number}"),
                program: place::binary("ws-gateway")?,
                arguments: Vec::new(),
                variables: variables(
                    "KEYWAY_GATEWAY_",
                    &[
                        ("LISTEN", address),
                        ("PRIVATE_LISTEN", &free_address()?),
                        ("BUS__KIND", "redis"),
                        ("BUS__URL", &redis_url),
                        ("TOKENS__JWKS_URL", &format!("http://{core_address}/.well-known/jwks.json")),
                        ("LOG__FILTER", "warn"),
                    ],
                ),
                folder: folder.path().into(),
            };
            gateways.push(Program::start(recipe)?);
            wait_for_port("the gateway", address)?;
        }
        let apart = Self {
            gateways,
            core,
            redis,
            postgres,
            core_address,
            gateway_addresses,
            redis_address,
            redis_lives: 1,
            folder,
        };
        apart.wait_ready()?;
        Ok(apart)
    }

    pub fn wait_ready(&self) -> Result<()> {
        wait_for("core being ready", READY_MAX, || match http::get(&self.core_address, "/health/ready") {
            Ok(answer) if answer.status() == 200 => Ok(()),
            Ok(answer) => Err(String::from_utf8_lossy(&answer.body).into_owned()),
            Err(error) => Err(format!("{error:#}\n{}", self.core.complaints())),
        })
    }

    /// Redis anew: with what it had written, or with an empty disk.
    pub fn start_redis_again(&mut self, with_data: bool) -> Result<()> {
        self.redis.kill();
        if !with_data {
            self.redis_lives += 1;
        }
        self.redis.recipe = redis_recipe(self.folder.path(), &self.redis_address, self.redis_lives)?;
        self.redis.start_again()
    }

    pub fn tenant(&self) -> Result<Tenant> {
        Tenant::make(&self.core_address, ADMIN_KEY)
    }

    /// A verb of core's binary that ends, over the same configuration.
    pub fn verb(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.core.recipe.program)
            .args(arguments)
            .env_clear()
            .envs(self.core.recipe.variables.iter().map(|(name, value)| (name, value)))
            .output()?;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        ensure!(output.status.success(), "app-core {arguments:?}: {told}");
        Ok(told)
    }
}

pub fn socket_url(address: &str) -> String {
    format!("ws://{address}/connection/websocket")
}

fn redis_recipe(folder: &Path, address: &str, life: u32) -> Result<Recipe> {
    let data = folder.join(format!("redis{life}"));
    std::fs::create_dir_all(&data)?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|place| place.join("redis-server")).find(|file| file.is_file());
    Ok(Recipe {
        name: "redis".into(),
        program: found.context("redis-server is not on the PATH; the test command installs it")?,
        arguments: ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir"]
            .into_iter()
            .map(str::to_owned)
            .chain([data.display().to_string()])
            .collect(),
        variables: Vec::new(),
        folder: folder.into(),
    })
}

pub fn id(made: &Value) -> Result<String> {
    Ok(made["id"].as_str().with_context(|| format!("no id in {made}"))?.to_owned())
}

impl Tenant {
    /// A new one, by the administrator's key.
    pub fn make(core: &str, admin_key: &str) -> Result<Self> {
        let admin = Self { core: core.into(), id: String::new(), key: admin_key.into() };
        let made = admin.post("/v1/tenants", &json!({ "name": "Acme" }))?;
        let key = made["api_key"]["secret"].as_str().with_context(|| format!("a tenant's key in {made}"))?;
        Ok(Self { id: id(&made)?, key: key.into(), ..admin })
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = Message {
            first_line: format!("{method} {path} HTTP/1.1"),
            headers: vec![
                ("Host".into(), self.core.clone()),
                ("Authorization".into(), format!("Bearer {}", self.key)),
                ("Content-Type".into(), "application/json".into()),
            ],
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        };
        let answer = http::exchange(&self.core, &request)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!((200..300).contains(&answer.status()), "{method} {path}: {} {text}", answer.status());
        serde_json::from_str(&text).with_context(|| format!("{method} {path} answered {text}"))
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", path, Some(body))
    }

    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("PUT", path, Some(body))
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, None)
    }

    /// Every item of a list, page by page.
    pub fn all(&self, path: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=200{after}"))?;
            items.extend(
                page["items"].as_array().with_context(|| format!("no items in {page}"))?.iter().cloned(),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }

    pub fn site(&self) -> Result<String> {
        id(&self.post("/v1/sites", &json!({ "name": "Tallinn", "zone": "Europe/Tallinn" }))?)
    }

    pub fn door(&self, site: &str, name: &str) -> Result<String> {
        id(&self.post("/v1/doors", &json!({ "name": name, "site": site }))?)
    }

    /// Somebody who may open every door.
    pub fn person(&self, name: &str) -> Result<String> {
        let person = id(&self.post("/v1/people", &json!({ "name": name }))?)?;
        self.post("/v1/grants", &json!({ "who": { "person": person }, "scope": "tenant" }))?;
        Ok(person)
    }

    /// Enrols a virtual device by its program; answers the file that it keeps its enrolment in.
    fn enrol(&self, program: &str, path: &str, file: PathBuf) -> Result<PathBuf> {
        let code = self.post(path, &json!({}))?;
        let code = code["code"].as_str().with_context(|| format!("no code in {code}"))?;
        let output = Command::new(place::binary(program)?)
            .args(["enrol", "--core", &format!("http://{}", self.core), "--code", code, "--enrolment"])
            .arg(&file)
            .output()?;
        ensure!(output.status.success(), "{program} enrol: {}", String::from_utf8_lossy(&output.stderr));
        Ok(file)
    }

    fn enrol_door(&self, door: &str, folder: &Path) -> Result<PathBuf> {
        self.enrol("door", &format!("/v1/doors/{door}/enrolments"), folder.join(format!("{door}.json")))
    }

    /// A new door, enrolled, with its device at a gateway; what the device remembers lies in `<door>.ndjson`.
    pub fn place(&self, site: &str, name: &str, gateway: &str, folder: &Path) -> Result<Place> {
        let door = self.door(site, name)?;
        let enrolment = self.enrol_door(&door, folder)?;
        let kept: Value = serde_json::from_slice(&std::fs::read(&enrolment)?)?;
        let device = kept["device"].as_str().with_context(|| format!("no device in {kept}"))?.to_owned();
        let program = Program::start(Recipe {
            name: door.clone(),
            program: place::binary("door")?,
            arguments: vec![
                "connect".into(),
                "--url".into(),
                socket_url(gateway),
                "--enrolment".into(),
                enrolment.display().to_string(),
                "--memory".into(),
                memory(&door, folder).display().to_string(),
            ],
            variables: Vec::new(),
            folder: folder.into(),
        })?;
        Ok(Place { door, device, program })
    }

    pub fn enrol_phone(&self, person: &str, folder: &Path) -> Result<PathBuf> {
        self.enrol("phone", &format!("/v1/people/{person}/enrolments"), folder.join(format!("{person}.json")))
    }
}

/// A door that stands: a virtual one, as a process of its own.
pub struct Place {
    pub door: String,
    pub device: String,
    pub program: Program,
}

pub fn memory(door: &str, folder: &Path) -> PathBuf {
    folder.join(format!("{door}.ndjson"))
}

/// A phone asks for a door as a person would, and waits four seconds; status 0 says that the bolt moved.
pub fn unlock(phone: &Path, door: &str, gateway: &str) -> Result<Output> {
    let url = socket_url(gateway);
    let mut command = Command::new(place::binary("phone")?);
    command.args(["unlock", door, "--within-ms", "4000", "--url", &url, "--enrolment"]).arg(phone);
    Ok(command.output()?)
}
