//! The keys that sign for a tenant's doors change: doors that are there follow, one that was away for two changes is led on,
//! one that restarts knows them, and everything opens as before. On both databases.

use crate::hostile::{World, bolts, history, settle, world};
use crate::store::database::Database;
use app_core::command::audit::{self, AuditVerb};
use app_core::store::{StoreOptions, TenantScope};
use keyway_devices::door::Input;
use keyway_devices::scene::DoorShell;
use serde_json::json;
use std::sync::Arc;

on_both!(doors_follow_the_keys);

const ANNOUNCED_MS: i64 = 10 * 60_000;

impl World {
    async fn rotate(&mut self, version: u64) {
        let made = self.house.post("/v1/signing-keys", json!({})).await;
        assert_eq!(made["version"], version, "{made}");
        let (status, problem) = self.house.ask("POST", "/v1/signing-keys", Some(json!({}))).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (409, Some("in_use")),
            "not faster than doors: {problem}"
        );
        let signer = self.signer().await;
        assert_ne!(signer, made["kid"], "doors hear of it first");
        self.sync(0).await;
        assert_eq!(self.doors[0].core.keys_version(), version);
        self.clock.shift(ANNOUNCED_MS + 1);
        self.house.core.tend_signing_keys(self.doors[0].identity.tenant).await.unwrap();
        assert_eq!(self.signer().await, made["kid"]);
        self.sync(0).await;
    }

    async fn signer(&self) -> serde_json::Value {
        let keys = self.house.get("/v1/signing-keys").await;
        let keys = keys["items"].as_array().unwrap();
        let signers: Vec<_> = keys.iter().filter(|key| key["signs"] == true).collect();
        assert_eq!(signers.len(), 1, "{keys:?}");
        signers[0]["kid"].clone()
    }

    async fn sync(&mut self, door: usize) {
        self.give(door, Input::Disconnected).await;
        self.give(door, Input::Connected).await;
    }
}

async fn doors_follow_the_keys(database: Database) {
    let (mut world, _) = world(11, Some(&database.url)).await;
    let front = world.doors[0].identity.door;
    world.unlock(front).await;
    world.hand_on().await;
    // The back door is away from here on.
    world.give(1, Input::Disconnected).await;
    world.rotate(2).await;
    world.unlock(front).await;
    world.hand_on().await;
    world.rotate(3).await;
    world.unlock(front).await;
    world.hand_on().await;
    assert_eq!(world.doors[1].core.keys_version(), 1, "nobody has told it");
    // It comes back, and is led from the key it knows to the one that signs now.
    world.sync(1).await;
    settle(&mut world).await;
    // With its next sync each says what it has taken.
    world.sync(0).await;
    world.sync(1).await;
    for door in &world.doors {
        assert_eq!(door.core.keys_version(), 3);
        let shown = world.house.get(&format!("/v1/devices/{}", door.identity.device)).await;
        assert_eq!(shown["state"]["keys_version"], 3, "{shown}");
    }
    // What they hold stands under keys that they trust: nothing of it is lost with a restart.
    for place in 0..2 {
        let before = world.doors.remove(place);
        let (identity, now) = (Arc::clone(&before.identity), world.clock.now());
        let held = before.core.bundle().map(|bundle| bundle.body().clone());
        let mut door = DoorShell::start(identity, before.flash, 77, now).unwrap();
        assert_eq!(
            (door.core.keys_version(), door.core.bundle().map(|bundle| bundle.body().clone())),
            (3, held)
        );
        door.bolt = before.bolt;
        world.doors.insert(place, door);
        world.sync(place).await;
    }
    world.unlock(front).await;
    settle(&mut world).await;
    let commands = world.house.get("/v1/commands").await;
    let commands = commands["items"].as_array().unwrap();
    let executed = commands.iter().filter(|one| one["state"] == "executed").count();
    assert_eq!((commands.len(), executed), (4, 4), "{commands:?}");
    bolts(&world).await;
    history(&world).await;
    checkpoints_hold(&world).await;
    world.house.stop().await;
}

/// Heads that were signed by any of the keys.
async fn checkpoints_hold(world: &World) {
    world.house.post("/v1/audit/checkpoints", json!({})).await;
    let kept = world.house.get("/v1/audit/checkpoints").await;
    assert_eq!(kept["keys"].as_array().unwrap().len(), 3, "{kept}");
    let scope = TenantScope::of(world.doors[0].identity.tenant);
    let export = audit::read(&world.house.core.store, scope).await.unwrap();
    let place = |name: &str| world.house.folder.path().join(name);
    std::fs::write(place("chain"), export.to_text()).unwrap();
    std::fs::write(place("kept"), kept.to_string()).unwrap();
    let verb = AuditVerb::Verify { file: place("chain"), keys: Some(place("kept")) };
    let told = audit::run(verb, StoreOptions::at("sqlite:none")).await.unwrap();
    assert!(told.contains("holds"), "{told}");
}
