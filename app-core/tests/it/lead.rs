//! Several cores on one Postgres and one Redis, each a process: one of them sends the publications, in the order of the
//! commits whoever made them, and when it is killed or frozen another one goes on where it was.

use crate::cache::{Redis, free_port};
use crate::house::{ADMIN, SECRET, id, wait_for};
use crate::store::postgres::Postgres;
use keyway_bus::{Bus as _, Channels as _, HistoryFilter, RedisBus, RedisOptions, Request};
use keyway_devices::enrolling::{dice_of_the_system, enrol_door, own_key};
use keyway_devices::http::wanted;
use keyway_devices::net::Forward;
use keyway_domain::sign::Algorithm;
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

struct Process {
    child: Child,
    url: String,
    private: String,
}

impl Process {
    async fn start(database: &str, redis: &str) -> Self {
        let (public, private) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let child = Command::new(env!("CARGO_BIN_EXE_app-core"))
            .arg("serve")
            .env_clear()
            .env("KEYWAY_CORE_LISTEN", &public)
            .env("KEYWAY_CORE_PRIVATE_LISTEN", &private)
            .env("KEYWAY_CORE_STORE__URL", database)
            .env("KEYWAY_CORE_BUS__URL", redis)
            .env("KEYWAY_CORE_KEYS__ROOT_SECRET", SECRET)
            .env("KEYWAY_CORE_ADMIN__KEY", ADMIN)
            .env("KEYWAY_CORE_LOG__FILTER", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, url: format!("http://{public}"), private };
        wait_for("core listens", async || process.metric("keyway_core_leads").await.ok_or("no answer")).await;
        process
    }

    /// One number of `/metrics`, if the process answers.
    async fn metric(&self, name: &str) -> Option<f64> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(&self.private).await.ok()?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.private);
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    async fn leads(&self) {
        wait_for("this one leads", async || match self.metric("keyway_core_leads").await {
            Some(1.0) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Company {
    key: String,
    tenant: String,
    site: String,
    door: String,
}

/// A door that is blocked: every unlock is denied at once, which is one publication to the operators.
async fn company(url: &str) -> Company {
    let made =
        wanted("POST", url, "/v1/tenants", Some(ADMIN), Some(&json!({ "name": "Acme" }))).await.unwrap();
    let key = made["api_key"]["secret"].as_str().unwrap().to_owned();
    let post =
        async |path: &str, body: Value| wanted("POST", url, path, Some(&key), Some(&body)).await.unwrap();
    let site = id(&post("/v1/sites", json!({ "name": "Tallinn", "zone": "Europe/Tallinn" })).await);
    let door = id(&post("/v1/doors", json!({ "name": "Front", "site": site })).await);
    let code = post(&format!("/v1/doors/{door}/enrolments"), json!({})).await;
    let mut dice = dice_of_the_system().unwrap();
    let own = own_key(Algorithm::ES256, Forward::begin().now(), &mut dice);
    enrol_door(url, code["code"].as_str().unwrap(), own, &mut dice).await.unwrap();
    let mode = format!("/v1/doors/{door}/mode");
    wanted("PUT", url, &mode, Some(&key), Some(&json!({ "mode": "blocked" }))).await.unwrap();
    Company { tenant: id(&made), key, site, door }
}

impl Company {
    /// So many unlocks at this core, several at a time.
    async fn ask(&self, url: &str, count: usize) -> Vec<String> {
        let path = format!("/v1/doors/{}/commands", self.door);
        let body = json!({ "kind": "unlock" });
        let mut ids = Vec::new();
        for _ in 0..count / 4 {
            let four = (0..4).map(|_| wanted("POST", url, &path, Some(&self.key), Some(&body)));
            ids.extend(futures::future::join_all(four).await.into_iter().map(|made| id(&made.unwrap())));
        }
        ids
    }

    /// Denied commands in the order of their commits, which the audit chain holds.
    async fn denied(&self, url: &str) -> Vec<String> {
        let audit = wanted("GET", url, "/v1/audit?limit=1000", Some(&self.key), None).await.unwrap();
        let rows = audit["items"].as_array().unwrap().iter().map(|row| &row["entry"]);
        let denied = rows.filter(|entry| entry["action"] == "command.denied");
        denied.map(|entry| entry["subject"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_core_sends_and_when_it_dies_the_next_goes_on_in_order() {
    let (redis, database) = (Redis::start(), tokio::task::spawn_blocking(Postgres::start).await.unwrap());
    database.sql("postgres", "CREATE DATABASE core");
    let url = database.url("core");
    let first = Process::start(&url, redis.url()).await;
    first.leads().await;
    let second = Process::start(&url, redis.url()).await;
    let company = company(&first.url).await;
    let bus = RedisBus::connect(RedisOptions::new(redis.url().to_owned()), Arc::new(|_| {})).await.unwrap();
    let channel = format!("site:{}.{}", company.tenant, company.site);
    let published = async || {
        let filter = HistoryFilter { limit: 300, ..HistoryFilter::default() };
        let history = bus.history(&channel, filter).await.unwrap();
        let said = history.publications.iter().filter_map(|one| {
            let event: Value = serde_json::from_slice(&one.data).unwrap();
            Some(event["data"]["command"].as_str()?.to_owned())
        });
        said.collect::<Vec<String>>()
    };
    let all_sent = async |from: &Process| {
        wait_for("everything is sent, in the order of commits", async || {
            let (denied, published) = (company.denied(&from.url).await, published().await);
            if published == denied { Ok(denied.len()) } else { Err((denied.len(), published.len())) }
        })
        .await
    };
    // Both take requests, one sends.
    tokio::join!(company.ask(&first.url, 40), company.ask(&second.url, 40));
    assert_eq!(all_sent(&second).await, 80);
    assert_eq!(second.metric("keyway_core_leads").await, Some(0.0));
    assert_eq!(second.metric("keyway_core_published_total").await, Some(0.0));
    // Killed in the middle of it.
    tokio::join!(company.ask(&second.url, 40), async { first.signal("-KILL") });
    second.leads().await;
    assert_eq!(all_sent(&second).await, 120);
    // Frozen, overtaken, and thawed: what it still had in its hands is old.
    let third = Process::start(&url, redis.url()).await;
    tokio::join!(company.ask(&third.url, 40), async { second.signal("-STOP") });
    third.leads().await;
    company.ask(&third.url, 20).await;
    second.signal("-CONT");
    company.ask(&third.url, 20).await;
    assert_eq!(all_sent(&third).await, 200);
    wait_for("the thawed one has seen that it does not lead", async || {
        match second.metric("keyway_core_leads").await {
            Some(0.0) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(all_sent(&third).await, 200);
    // Told to end, it makes room at once.
    third.signal("-TERM");
    second.leads().await;
}

/// The API does not need Redis, not even to begin: who may open which door can be changed in an outage, and what is to be told
/// is told when Redis is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_starts_without_redis_serves_its_api_and_doors_later() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("core.db").display());
    let port = free_port();
    let redis_url = format!("redis://127.0.0.1:{port}");
    let mut ended = Process::start(&database, &redis_url).await;
    ended.signal("-TERM");
    assert!(ended.child.wait().unwrap().success(), "it ends when it is told, also while it waits for Redis");
    let core = Process::start(&database, &redis_url).await;
    let company = company(&core.url).await;
    assert_eq!(company.ask(&core.url, 4).await.len(), 4);
    assert_eq!(core.metric("keyway_core_published_total").await, Some(0.0));
    let redis = Redis::start_on(port);
    wait_for("what happened meanwhile is told", async || {
        match core.metric("keyway_core_published_total").await {
            Some(count) if count >= 4.0 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let bus = RedisBus::connect(RedisOptions::new(redis.url().to_owned()), Arc::new(|_| {})).await.unwrap();
    let request = Request {
        method: "door.juggle".into(),
        data: Default::default(),
        user: String::new(),
        client: "c".into(),
        tenant: company.tenant.clone(),
        partition_key: "c".into(),
        deadline_ms: 0,
        meta: Default::default(),
    };
    wait_for("requests are answered", async || bus.request(request.clone()).await.map(drop)).await;
}
