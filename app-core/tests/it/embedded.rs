//! The whole path in one process: phone, gateway, core, database, door and back, over real sockets.

use crate::house::{House, Running, open, wait_for};
use keyway_devices::net::Hand;
use keyway_domain::command::State;
use keyway_domain::decision::Reason;
use serde_json::json;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_is_cut_off_and_a_revoked_phone_opens_nothing() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let person = house.person("Ada").await;
    house.grant(&person, &door).await;
    let first = house.device(&door).await;
    let running = Running::start(&first).await_connected().await;
    let phone = house.phone(&person).await;
    assert_eq!(open(&phone, &door).await, Some(State::Executed));
    // Another device for the same door: the first one's socket is closed and its key gets no token any more.
    let second = house.device(&door).await;
    running.until("the first device is cut off", |seen| !seen.connected).await;
    let renewal = first.endpoint(None).unwrap().renewal.unwrap();
    let refused = renewal.token("mine".into()).await.unwrap_err().to_string();
    assert!(refused.contains("401 unauthorized"), "{refused}");
    running.stop().await;
    let running = Running::start(&second).await_connected().await;
    assert_eq!(open(&phone, &door).await, Some(State::Executed));
    house.post(&format!("/v1/phones/{}/revoke", phone.key.kid), json!({})).await;
    let renewal = phone.endpoint(None).unwrap().renewal.unwrap();
    assert!(renewal.token("mine".into()).await.is_err(), "a revoked phone gets no token");
    running.until("the door has heard of it", |seen| seen.credentials == 0).await;
    running.stop().await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mode_and_lockdown_reach_the_door_and_govern_core() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let person = house.person("Ada").await;
    house.grant(&person, &door).await;
    let running = Running::start(&house.device(&door).await).await_connected().await;
    let phone = house.phone(&person).await;
    let denied = |reason| Some(State::Denied(keyway_domain::command::DeniedBy(reason)));
    let (status, set) =
        house.ask("PUT", &format!("/v1/doors/{door}/mode"), Some(json!({ "mode": "blocked" }))).await;
    assert_eq!((status, &set["mode_version"]), (200, &json!(1)));
    assert_eq!(open(&phone, &door).await, denied(Reason::DoorBlocked));
    house.ask("PUT", &format!("/v1/doors/{door}/mode"), Some(json!({ "mode": "normal" }))).await;
    let lockdown = json!({ "scope": { "site": house.site }, "effect": "nobody" });
    let lockdown = house.post("/v1/lockdowns", lockdown).await;
    assert_eq!(open(&phone, &door).await, denied(Reason::DoorInLockdown));
    running.until("the door is locked down", |seen| seen.lockdowns == 1).await;
    let activation = lockdown["activation"].as_str().unwrap();
    house.post(&format!("/v1/lockdowns/{activation}/revert"), json!({})).await;
    running.until("the lockdown is over", |seen| seen.lockdowns == 0).await;
    // The door takes no command from before the mode that it has; core's newest is what it gets.
    running.until("the door has the newest mode", |seen| seen.mode_version == 2).await;
    assert_eq!(open(&phone, &door).await, Some(State::Executed));
    running.stop().await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unplugged_door_comes_back_with_its_events() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let running = Running::start(&house.device(&door).await).await_connected().await;
    let device = house.get("/v1/devices").await["items"][0]["id"].as_str().unwrap().to_owned();
    running.hands.send(Hand::Unplug(true)).await.unwrap();
    running.until("it is away", |seen| !seen.connected).await;
    for _ in 0..3 {
        let forced = keyway_devices::door::Input::Sensor(keyway_domain::event::EventKind::DoorForcedOpen);
        running.hands.send(Hand::Input(forced)).await.unwrap();
    }
    running.until("it has noted them", |seen| seen.events_held).await;
    running.hands.send(Hand::Unplug(false)).await.unwrap();
    running.until("they are committed", |seen| seen.connected && !seen.events_held).await;
    assert_eq!(house.get("/v1/events").await["items"].as_array().unwrap().len(), 3);
    let shown = house.get(&format!("/v1/devices/{device}")).await;
    assert_eq!(shown["state"]["observed"]["alarm"], "forced_open", "{shown}");
    running.stop().await;
    house.stop().await;
}
