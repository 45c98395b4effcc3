//! What several callers do at the same moment: core decides again where they meet, so that nobody is sent away with "somebody
//! else was faster", and no two of them do what only one may. Everything on both databases.

use crate::house::{House, id};
use crate::store::database::Database;
use app_core::source::Clock;
use futures::future::join_all;
use keyway_devices::enrolling::{dice_of_the_system, enrol_door, own_key};
use keyway_devices::net::Forward;
use keyway_domain::sign::Algorithm;
use serde_json::{Value, json};

on_both!(revocations_and_lockdowns_all_come_through, a_door_has_one_device, nothing_stands_nowhere);

async fn statuses(house: &House, asked: Vec<(&str, String, Option<Value>)>) -> Vec<(u16, Value)> {
    join_all(asked.into_iter().map(async |(method, path, body)| house.ask(method, &path, body).await)).await
}

fn all(status: u16, answers: &[(u16, Value)]) {
    for (found, body) in answers {
        assert_eq!(*found, status, "{body}");
    }
}

async fn revocations_and_lockdowns_all_come_through(database: Database) {
    let house = House::on(&database.url, Clock::default()).await;
    let ada = house.person("Ada").await;
    let card = |number: usize| json!({ "person": ada, "kind": "card", "shown": format!("card {number}") });
    let cards: Vec<String> =
        join_all((0..16).map(async |number| id(&house.post("/v1/credentials", card(number)).await))).await;
    let path = |card: &String| format!("/v1/credentials/{card}");
    let suspended = Some(json!({ "state": "suspended" }));
    all(
        200,
        &statuses(&house, cards.iter().map(|one| ("PATCH", path(one), suspended.clone())).collect()).await,
    );
    all(204, &statuses(&house, cards.iter().map(|one| ("DELETE", path(one), None)).collect()).await);
    let tenant = house.get("/v1/audit/checkpoints").await["tenant"].as_str().unwrap().parse().unwrap();
    let tenant = house.core.tenant(tenant).await.unwrap();
    let facts = tenant.facts(&house.core.store, house.core.clock.now()).await.unwrap();
    assert_eq!(facts.revocation.digests.len(), 16, "each of them is on the signed list");

    let lockdown =
        || ("POST", "/v1/lockdowns".to_owned(), Some(json!({ "scope": "tenant", "effect": "nobody" })));
    all(201, &statuses(&house, (0..10).map(|_| lockdown()).collect()).await);
    let held = house.get("/v1/lockdowns").await["items"].clone();
    let reverts = held.as_array().unwrap().iter().map(|one| {
        ("POST", format!("/v1/lockdowns/{}/revert", one["activation"].as_str().unwrap()), Some(json!({})))
    });
    let reverts: Vec<_> = reverts.collect();
    assert_eq!(reverts.len(), 10);
    all(200, &statuses(&house, reverts).await);
    assert_eq!(house.get("/v1/lockdowns").await["items"], json!([]));
    house.stop().await;
}

/// Two codes for one door, used at the same moment.
async fn a_door_has_one_device(database: Database) {
    let house = House::on(&database.url, Clock::default()).await;
    let door = house.door("Front").await;
    for _ in 0..4 {
        let enrol = async || {
            let code = house.post(&format!("/v1/doors/{door}/enrolments"), json!({})).await;
            let mut dice = dice_of_the_system().unwrap();
            let own = own_key(Algorithm::ES256, Forward::begin().now(), &mut dice);
            enrol_door(&house.url, code["code"].as_str().unwrap(), own, &mut dice).await.map(drop)
        };
        let enrolled = join_all([enrol(), enrol(), enrol()]).await;
        assert!(enrolled.iter().all(Result::is_ok), "each has a code of its own: {enrolled:?}");
    }
    let devices = house.get("/v1/devices").await["items"].clone();
    let devices = devices.as_array().unwrap();
    let in_force = devices.iter().filter(|device| device["revoked"] == false).count();
    assert_eq!((devices.len(), in_force), (12, 1), "{devices:?}");
    house.stop().await;
}

/// A door is made at a site while that is deleted: one of the two is refused.
async fn nothing_stands_nowhere(database: Database) {
    let house = House::on(&database.url, Clock::default()).await;
    let mut made = 0;
    for number in 0..12 {
        let site = house.post("/v1/sites", json!({ "name": format!("S{number}"), "zone": "UTC" })).await;
        let site = id(&site);
        let door = ("POST", "/v1/doors".to_owned(), Some(json!({ "name": "Front", "site": site })));
        let gone = ("DELETE", format!("/v1/sites/{site}"), None);
        let answers =
            statuses(&house, if number % 2 == 0 { vec![door, gone] } else { vec![gone, door] }).await;
        let done = answers.iter().filter(|(status, _)| (200..300).contains(status)).count();
        assert_eq!(done, 1, "{answers:?}");
        made += usize::from(answers.iter().any(|(status, _)| *status == 201));
    }
    assert!(house.get("/v1/doors").await["items"].as_array().unwrap().len() == made);
    house.stop().await;
}
