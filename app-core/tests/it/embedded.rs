//! The whole path in one process: phone, gateway, core, database, door and back, over real sockets.

use crate::house::{House, Running, open, wait_for};
use keyway_domain::command::State;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_opens_a_door() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let person = house.person("Ada").await;
    house.grant(&person, &door).await;
    let running = Running::start(&house.device(&door).await);
    let phone = house.phone(&person).await;
    running.until("the door has a bundle with the phone's key", |seen| seen.credentials == 1).await;
    assert_eq!(open(&phone, &door).await, Some(State::Executed));
    let seen =
        running.until("the event of it is committed", |seen| seen.moved == 1 && !seen.events_held).await;
    assert_eq!(seen.moved, 1);
    // The bolt, the event, the command and the trail all tell the same.
    let commands = house.get("/v1/commands").await;
    assert_eq!(commands["items"][0]["state"], "executed", "{commands}");
    let command = commands["items"][0]["id"].clone();
    let events = house.get("/v1/events").await;
    let unlocked = events["items"].as_array().unwrap().iter().find(|one| one["kind"] == "door.unlocked");
    assert_eq!(unlocked.unwrap()["event"]["command"], command, "{events}");
    let audit = house.get("/v1/audit?limit=1000").await;
    let actions: Vec<&str> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["entry"]["subject"] == command)
        .filter_map(|row| row["entry"]["action"].as_str())
        .collect();
    assert_eq!(actions, ["command.allowed", "command.executed"], "{audit}");
    let shell = running.stop().await;
    assert_eq!(shell.bolt.motions.len(), 1);
    let device = shell.identity.device;
    wait_for("the device is shown as offline", async || {
        let shown = house.get(&format!("/v1/devices/{device}")).await;
        if shown["state"]["online"] == false { Ok(()) } else { Err(shown) }
    })
    .await;
    house.stop().await;
}
