//! A core that lives on from an old backup: *doors that have seen more than the backup knows take what the restored core
//! says at once; what was lost is declared, and nothing is asked for for ever.*

use std::time::Duration;

use e2e::apart::{self, Apart, Place, Tenant};
use e2e::program::wait_for;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(90);

fn events(tenant: &Tenant, kind: &str) -> Result<usize, String> {
    let all = tenant.all("/v1/events").map_err(|error| format!("{error:#}"))?;
    Ok(all.iter().filter(|event| event["kind"] == kind).count())
}

fn wait_for_events(tenant: &Tenant, kind: &str, count: usize) {
    wait_for("events coming in", WITHIN, || match events(tenant, kind) {
        Ok(found) if found >= count => Ok(()),
        other => Err(format!("{other:?} of {count}")),
    })
    .unwrap();
}

/// Asks again until the door opens: a door waits up to half a minute before it comes back. What it said last otherwise.
fn opens(door: &str, phone: &std::path::Path, gateway: &str) {
    wait_for("the door opening", WITHIN, || {
        let output = apart::unlock(phone, door, gateway).unwrap();
        let told = [output.stdout, output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&told).into_owned()) }
    })
    .unwrap();
}

fn state(place: &Place, tenant: &Tenant) -> Result<Value, String> {
    let shown = tenant.get(&format!("/v1/devices/{}", place.device));
    shown.map(|shown| shown["state"].clone()).map_err(|error| format!("{error:#}"))
}

/// Until core knows that the door holds a newer desired state and bundle than these. What a door holds it says with its
/// next sync, which a change of anything brings about.
fn synced_beyond(place: &Place, tenant: &Tenant, desired: u64, bundle: u64) -> (u64, u64) {
    let mut held = (0, 0);
    let mut asked = std::time::Instant::now();
    wait_for("the door holding what it should", WITHIN, || {
        let state = state(place, tenant)?;
        let number = |name: &str| state[name].as_u64().unwrap_or(0);
        held = (number("desired_version"), number("bundle_version"));
        if held.0 > desired && held.1 > bundle {
            return Ok(());
        }
        if asked.elapsed() > Duration::from_secs(1) {
            asked = std::time::Instant::now();
            tenant.post("/v1/people", &json!({ "name": "Somebody" })).map_err(|error| error.to_string())?;
        }
        Err(state.to_string())
    })
    .unwrap();
    held
}

#[test]
fn doors_follow_a_core_that_was_restored_from_an_old_backup() {
    let mut apart = Apart::start().unwrap();
    let folder = apart.folder.path().to_owned();
    let tenant = apart.tenant().unwrap();
    let site = tenant.site().unwrap();
    let ada = tenant.person("Ada").unwrap();
    let phone = tenant.enrol_phone(&ada, &folder).unwrap();
    let gateway = apart.gateway_addresses[0].clone();
    let mut place = tenant.place(&site, "Front", &gateway, &folder).unwrap();
    opens(&place.door, &phone, &gateway);
    place.program.tell("card 1");
    wait_for_events(&tenant, "access.denied", 1);
    apart.verb(&["backup", folder.join("old.ndjson").to_str().unwrap()]).unwrap();
    // Much of what is about to be lost: modes, a lockdown, a person, events that the door may forget.
    for mode in ["blocked", "unlocked", "normal"] {
        tenant.put(&format!("/v1/doors/{}/mode", place.door), &json!({ "mode": mode })).unwrap();
    }
    let lockdown = tenant.post("/v1/lockdowns", &json!({ "scope": "tenant", "effect": "nobody" })).unwrap();
    let lockdown = lockdown["activation"].as_str().unwrap();
    tenant.post(&format!("/v1/lockdowns/{lockdown}/revert"), &json!({})).unwrap();
    let bob = tenant.person("Bob").unwrap();
    tenant.enrol_phone(&bob, &folder).unwrap();
    for number in 0..5 {
        place.program.tell(&format!("card {number}"));
    }
    wait_for_events(&tenant, "access.denied", 6);
    // What it holds now it says with the sync after: some rounds, and it has seen all of the above.
    let mut before = (0, 0);
    for _ in 0..3 {
        before = synced_beyond(&place, &tenant, before.0, 0);
    }
    opens(&place.door, &phone, &gateway);

    apart.core.kill();
    apart.postgres.sql("postgres", "DROP DATABASE keyway WITH (FORCE)");
    apart.postgres.sql("postgres", "CREATE DATABASE keyway");
    let told = apart.verb(&["restore", folder.join("old.ndjson").to_str().unwrap()]).unwrap();
    assert!(told.contains("verified the audit chains"), "{told}");
    apart.core.start_again().unwrap();
    apart.wait_ready().unwrap();
    // The door takes the restored state, which is numbered beyond all that it has seen, and does what it is told by it.
    let after = synced_beyond(&place, &tenant, before.0 + (1 << 31), before.1 + (1 << 31));
    opens(&place.door, &phone, &gateway);
    place.program.tell("card 9");
    wait_for_events(&tenant, "access.denied", 2);
    let trail = tenant.all("/v1/audit").unwrap();
    let has = |action: &str| trail.iter().any(|row| row["entry"]["action"] == action);
    assert!(has("tenant.restored") && has("events.lost"), "{trail:#?}");
    // A lockdown that is new to the restored core is new to the door as well: nobody gets in, whatever it held before.
    tenant.post("/v1/lockdowns", &json!({ "scope": "tenant", "effect": "nobody" })).unwrap();
    synced_beyond(&place, &tenant, after.0, 0);
    let output = apart::unlock(&phone, &place.door, &gateway).unwrap();
    assert!(!output.status.success(), "{output:?}");
    let export = folder.join("audit.txt");
    apart.verb(&["audit", "export", "--tenant", &tenant.id, export.to_str().unwrap()]).unwrap();
    assert!(apart.verb(&["audit", "verify", export.to_str().unwrap()]).unwrap().contains("holds"));
}
