//! Slips of a hand: a misspelt field, a thing that is not there, a place that is nobody's. Each is told and none is taken in
//! silence, on both databases alike. Also what a person who is suspended still hears, and what a kept checkpoint is good for.

use crate::api::raw;
use crate::house::{House, id};
use crate::store::database::Database;
use app_core::command::audit::{self, AuditVerb};
use app_core::source::Clock;
use app_core::store::{StoreOptions, TenantScope};
use keyway_devices::enrolling::Renewal;
use serde_json::{Value, json};

on_both!(slips_are_told, what_others_refer_to_stays, lockdowns_that_are_over, who_is_suspended_hears_nothing);

async fn slips_are_told(database: Database) {
    let house = House::on(&database.url, Clock::default()).await;
    let (door, ada) = (house.door("Front").await, house.person("Ada").await);
    let grant = |more: Value| merged(json!({ "who": { "person": ada }, "scope": { "doors": [door] } }), more);
    let place = |more: Value| merged(json!({ "name": "Back", "site": house.site }), more);
    let times = json!({ "access_ms": 5000, "extended_ms": 15000, "held_open_ms": 30000, "acess_ms": 1 });
    let nobody = "grp_01m7xscbq8fybrc31ynzza5y8g";
    for (path, body, field) in [
        ("grants", grant(json!({ "validity": { "untl": 5 } })), "/validity/untl"),
        ("grants", grant(json!({ "validity": { "from": 6, "until": 5 } })), "/validity"),
        ("grants", grant(json!({ "who": { "group": nobody } })), "/who"),
        ("grants", grant(json!({ "scope": { "tag": "a\u{0}" } })), "/scope"),
        ("people", json!({ "name": "Bob", "groups": [nobody] }), "/groups"),
        ("doors", place(json!({ "timings": times })), "/timings/acess_ms"),
        ("doors", place(json!({ "levels": [{ "any_of": [] }] })), "/levels/0/any_of"),
        ("doors", place(json!({ "levels": [{ "any_of": [1] }, { "any_of": [0] }] })), "/levels/1/any_of"),
        ("doors", place(json!({ "levels": [{ "any_of": [16] }] })), "/levels/0/any_of"),
        ("doors", place(json!({ "levels": [{ "any_of": [1], "wehn": 1 }] })), "/levels/0/wehn"),
        ("doors", place(json!({ "two_person": { "within_ms": 0 } })), "/two_person/within_ms"),
        ("doors", place(json!({ "tags": ["a\u{0}"] })), "/tags"),
        (
            "schedules",
            json!({ "weekly": [{ "days": 0, "from_minute": 1, "until_minute": 2 }] }),
            "/weekly/0/days",
        ),
        (
            "schedules",
            json!({ "weekly": [], "exceptions": [{ "date": "2028-02-29", "window": [], "windows": [] }] }),
            "/exceptions/0/window",
        ),
        (
            "credentials",
            json!({ "person": ada, "kind": "card", "shown": "1", "validity": { "til": 1 } }),
            "/validity/til",
        ),
        ("lockdowns", json!({ "scope": { "doors": [] }, "effect": "nobody" }), "/scope"),
        ("lockdowns", json!({ "scope": { "tag": "nowhere" }, "effect": "nobody" }), "/scope"),
        (
            "lockdowns",
            json!({ "scope": { "site": "site_01m7xscbq8fybrc31ynzza5y8g" }, "effect": "nobody" }),
            "/scope",
        ),
        ("lockdowns", json!({ "scope": "tenant", "effect": "nobody", "life_s": 0 }), "/life_s"),
        ("keys", json!({ "name": "k", "rights": "read", "life_s": 0 }), "/life_s"),
    ] {
        let (status, problem) = house.ask("POST", &format!("/v1/{path}"), Some(body.clone())).await;
        assert_eq!((status, problem["field"].as_str()), (422, Some(field)), "{path} {body}: {problem}");
    }
    for (method, path, body, status) in [
        // A database's own text never leaves, and both answer alike.
        ("GET", "/v1/people?after=%00".to_owned(), "", 400),
        ("GET", "/v1/events?kind=%00".to_owned(), "", 400),
        ("POST", "/v1/keys/%00/revoke".to_owned(), "", 404),
        ("POST", format!("/v1/doors/{door}/enrolments"), "{{{", 422),
        ("POST", format!("/v1/doors/{door}/enrolments"), "{\"life_s\":5}", 422),
        ("POST", format!("/v1/doors/{door}/enrolments"), "", 201),
        ("POST", "/v1/people/per_01m7xscbq8fybrc31ynzza5y8g/sign-out".to_owned(), "", 404),
    ] {
        let (found, _, answer) = raw(&house, method, &path, &[], body).await;
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
    }
    house.stop().await;
}

fn merged(mut base: Value, more: Value) -> Value {
    let fields = base.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    base
}

async fn what_others_refer_to_stays(database: Database) {
    let house = House::on(&database.url, Clock::default()).await;
    let (door, ada) = (house.door("Front").await, house.person("Ada").await);
    let area = id(&house.post("/v1/areas", json!({ "name": "Yard", "site": house.site })).await);
    let group = id(&house.post("/v1/groups", json!({ "name": "Cleaners" })).await);
    let bob = id(&house.post("/v1/people", json!({ "name": "Bob", "groups": [group] })).await);
    let of = |who: Value, scope: Value| json!({ "who": who, "scope": scope });
    let own = id(&house.post("/v1/grants", of(json!({ "person": ada }), json!({ "doors": [door] }))).await);
    let yard = id(&house.post("/v1/grants", of(json!({ "group": group }), json!({ "area": area }))).await);
    let path = |kind: &str, id: &str| format!("/v1/{kind}/{id}");
    let held = [
        path("doors", &door),
        path("people", &ada),
        path("areas", &area),
        path("groups", &group),
        path("sites", &house.site),
    ];
    for path in &held {
        let (status, problem) = house.ask("DELETE", path, None).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("in_use")), "{path}: {problem}");
    }
    // From the outside in, all of it goes.
    for path in [path("grants", &own), path("grants", &yard), path("people", &bob)].iter().chain(&held) {
        let (status, problem) = house.ask("DELETE", path, None).await;
        assert_eq!(status, 204, "{path}: {problem}");
    }
    house.stop().await;
}

/// Those that have ended by themselves take nobody's place.
async fn lockdowns_that_are_over(database: Database) {
    let clock = Clock::default();
    let house = House::on(&database.url, clock.clone()).await;
    let short = json!({ "scope": "tenant", "effect": "nobody", "life_s": 60 });
    let mut last = Value::Null;
    for _ in 0..32 {
        last = house.post("/v1/lockdowns", short.clone()).await;
    }
    let (status, problem) = house.ask("POST", "/v1/lockdowns", Some(short.clone())).await;
    assert_eq!(status, 422, "a door holds 32: {problem}");
    clock.shift(61_000);
    assert_eq!(house.get("/v1/lockdowns").await["items"], json!([]));
    let one = house.post("/v1/lockdowns", short).await;
    let items = house.get("/v1/lockdowns").await["items"].clone();
    assert_eq!((items.as_array().unwrap().len(), &items[0]["activation"]), (1, &one["activation"]));
    let place = format!("/v1/lockdowns/{}", last["activation"].as_str().unwrap());
    assert_eq!(house.get(&place).await["activation"], last["activation"], "history is kept");
    house.stop().await;
}

async fn who_is_suspended_hears_nothing(database: Database) {
    let house = House::on(&database.url, Clock::default()).await;
    let (door, ada) = (house.door("Front").await, house.person("Ada").await);
    house.grant(&ada, &door).await;
    let phone = house.phone(&ada).await;
    let key = phone.key.signing().unwrap();
    let renewal = Renewal { core: house.url.clone(), of: "phones", key };
    renewal.token("before".into()).await.unwrap();
    house.ask("PATCH", &format!("/v1/people/{ada}"), Some(json!({ "state": "suspended" }))).await;
    let refused = renewal.token("after".into()).await.unwrap_err().to_string();
    assert!(refused.contains("403 forbidden"), "{refused}");
    let tenant = phone.tenant;
    let scope = TenantScope::of(tenant);
    let voided = format!("voided/{ada}");
    let voided = house.core.store.record(scope, app_core::store::kind::RecordKind::Setting, &voided).await;
    assert!(voided.unwrap().is_some(), "tokens made before are void, and sockets close");
    let tenant = house.core.tenant(tenant).await.unwrap();
    let facts = tenant.facts(&house.core.store, house.core.clock.now()).await.unwrap();
    assert!(app_core::relay::doors_of(&facts, ada.parse().unwrap()).is_empty());
    house.ask("PATCH", &format!("/v1/people/{ada}"), Some(json!({ "state": "active" }))).await;
    renewal.token("again".into()).await.unwrap();
    house.stop().await;
}

/// An answer of the API, kept elsewhere, shows that the tail of a later export was cut off, and is all that is needed.
#[tokio::test]
async fn a_kept_checkpoint_shows_a_tail_that_was_cut() {
    let house = House::embedded().await;
    house.person("Ada").await;
    house.post("/v1/audit/checkpoints", json!({})).await;
    let kept = house.get("/v1/audit/checkpoints").await;
    let tenant = kept["tenant"].as_str().unwrap().parse().unwrap();
    let export = audit::read(&house.core.store, TenantScope::of(tenant)).await.unwrap();
    let (whole, cut, keys) = (
        house.folder.path().join("whole"),
        house.folder.path().join("cut"),
        house.folder.path().join("kept"),
    );
    std::fs::write(&whole, export.to_text()).unwrap();
    std::fs::write(&keys, kept.to_string()).unwrap();
    let mut less = export;
    less.lines.pop();
    less.checkpoints.clear();
    std::fs::write(&cut, less.to_text()).unwrap();
    let verify = async |file: &std::path::Path, keys: Option<&std::path::Path>| {
        let verb = AuditVerb::Verify { file: file.into(), keys: keys.map(Into::into) };
        audit::run(verb, StoreOptions::at("sqlite:none")).await
    };
    let told = verify(&whole, Some(&keys)).await.unwrap();
    assert!(told.contains("holds"), "{told}");
    let told = verify(&cut, None).await.unwrap();
    assert!(told.contains("cannot be told"), "{told}");
    let flaw = format!("{:#}", verify(&cut, Some(&keys)).await.unwrap_err());
    assert!(flaw.contains("missing; a signed checkpoint says"), "{flaw}");
    let options = StoreOptions::at(format!("sqlite:{}", house.folder.path().join("keyway.db").display()));
    let nobody = "ten_01m7xscbq8fybrc31ynzza5y8g".parse().unwrap();
    let verb = AuditVerb::Export { tenant: nobody, file: house.folder.path().join("nobody") };
    let refused = audit::run(verb, options).await.unwrap_err().to_string();
    assert!(refused.contains("there is no tenant"), "{refused}");
    house.stop().await;
}
