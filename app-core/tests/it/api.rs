//! The HTTP API as its callers meet it: problems, versions, idempotency, pages, rights, and no way into another tenant.

use crate::house::{ADMIN, House, id};
use keyway_devices::enrolling::{dice_of_the_system, enrol_door, own_key};
use keyway_devices::http::{call, wanted};
use keyway_devices::net::Forward;
use keyway_domain::sign::Algorithm;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A request with headers of its own; status, headers and body as text.
pub async fn raw(
    house: &House,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, Value) {
    raw_as(house, &format!("Bearer {}", house.key), method, path, headers, body).await
}

pub async fn raw_as(
    house: &House,
    authorization: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, Value) {
    let place = house.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(place).await.unwrap();
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\nAuthorization: {authorization}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn problems_have_codes_and_the_id_of_the_request() {
    let house = House::embedded().await;
    let site = house.site.clone();
    for (method, path, body, status, code) in [
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("DELETE", "/v1/events", "", 405, "method_not_allowed"),
        ("POST", "/v1/sites", "{", 400, "malformed"),
        ("POST", "/v1/sites", "[]", 400, "malformed"),
        ("POST", "/v1/sites", r#"{"name":"x"}"#, 422, "invalid"),
        ("POST", "/v1/sites", r#"{"name":"x","zone":"Europe/Nowhere"}"#, 422, "invalid"),
        ("POST", "/v1/sites", r#"{"name":"x","zone":"UTC","more":1}"#, 422, "invalid"),
        ("GET", "/v1/sites/site_1", "", 404, "not_found"),
        ("PUT", &format!("/v1/sites/{site}"), r#"{"name":"x","zone":"UTC"}"#, 428, "precondition_required"),
        ("GET", "/v1/events?door=window_1", "", 422, "invalid"),
        ("GET", "/v1/events?limit=many", "", 400, "malformed"),
        ("GET", "/v1/doors?colour=red", "", 400, "malformed"),
        ("GET", "/v1/doors/%ff", "", 400, "malformed"),
        ("GET", "/v1/devices/%00", "", 404, "not_found"),
        ("POST", "/v1/phones/%00/revoke", "", 404, "not_found"),
        ("POST", "/v1/devices/enrol", r#"{"code":"BCDF-GHJK-LMNP"}"#, 422, "invalid"),
    ] {
        let (found, head, problem) = raw(&house, method, path, &[("X-Request-Id", "mine-1")], body).await;
        assert_eq!(
            (found, problem["code"].as_str()),
            (status, Some(code)),
            "{method} {path} {body}: {problem}"
        );
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert_eq!(problem["request_id"], "mine-1");
        assert_eq!(
            (&problem["status"], problem["type"].as_str()),
            (&json!(status), Some(&*format!("urn:keyway:problem:{code}")))
        );
        assert!(problem["title"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    let (status, _, problem) = raw(&house, "POST", "/v1/sites", &[], &"x".repeat(600_000)).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("too_large")));
    let (status, _) = call("GET", &house.url, "/v1/sites", Some("kwk_wrong"), None).await.unwrap();
    assert_eq!(status, 401);
    house.stop().await;
}

#[tokio::test]
async fn versions_and_idempotency() {
    let house = House::embedded().await;
    let key = [("Idempotency-Key", "order-1")];
    let body = r#"{"name":"Ada"}"#;
    let (status, head, first) = raw(&house, "POST", "/v1/people", &key, body).await;
    assert_eq!(status, 201, "{first}");
    assert!(head.contains("etag: \"1\"") && head.contains("location: /v1/people/per_"), "{head}");
    let (status, head, second) = raw(&house, "POST", "/v1/people", &key, body).await;
    assert_eq!((status, &second["id"]), (201, &first["id"]));
    assert!(head.contains("idempotency-replayed: true"), "{head}");
    let (status, _, problem) = raw(&house, "POST", "/v1/people", &key, r#"{"name":"Bob"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency_key_reused")));
    assert_eq!(house.get("/v1/people").await["items"].as_array().unwrap().len(), 1);

    let path = format!("/v1/people/{}", id(&first));
    let (status, head, _) = raw(&house, "PUT", &path, &[("If-Match", "\"1\"")], r#"{"name":"Ada L."}"#).await;
    assert_eq!(status, 200);
    assert!(head.contains("etag: \"2\""), "{head}");
    let (status, _, problem) = raw(&house, "PUT", &path, &[("If-Match", "\"1\"")], r#"{"name":"Eve"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (412, Some("precondition_failed")));
    // What was read can be written back, and a patch changes one field.
    let read = house.get(&path).await;
    let (status, _, _) = raw(&house, "PUT", &path, &[("If-Match", "\"2\"")], &read.to_string()).await;
    assert_eq!(status, 200);
    let (status, patched) = house.ask("PATCH", &path, Some(json!({ "extended_time": true }))).await;
    assert_eq!((status, &patched["extended_time"], &patched["name"]), (200, &json!(true), &json!("Ada L.")));
    let (status, _) = house.ask("DELETE", &path, None).await;
    assert_eq!(status, 204);
    assert_eq!(house.ask("GET", &path, None).await.0, 404);
    house.stop().await;
}

/// What is wrong is told with the field that it is in.
#[tokio::test]
async fn a_problem_names_the_field() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let commands = format!("/v1/doors/{door}/commands");
    for (path, body, field) in [
        ("/v1/sites", json!({ "name": "x" }), "/zone"),
        ("/v1/sites", json!({ "name": "x", "zone": "UTC", "colour": 1 }), "/colour"),
        ("/v1/people", json!({ "name": 7 }), "/name"),
        ("/v1/grants", json!({ "who": { "person": "nobody" }, "scope": "tenant" }), "/who"),
        (
            "/v1/grants",
            json!({ "who": { "person": "per_01m7xscbq8fybrc31ynzza5y8g" }, "scope": "tenant" }),
            "/who",
        ),
        ("/v1/lockdowns", json!({ "scope": "tenant", "effect": "nobody", "rank": -1 }), "/rank"),
        ("/v1/keys", json!({ "name": "x", "rights": "all" }), "/rights"),
        (&commands, json!({ "kind": "jump" }), "/kind"),
        (&commands, json!({ "kind": "unlock", "within_ms": 0 }), "/within_ms"),
        (&commands, json!({ "kind": "unlock", "within_ms": 60_001 }), "/within_ms"),
    ] {
        let (status, problem) = house.ask("POST", path, Some(body)).await;
        assert_eq!((status, problem["field"].as_str()), (422, Some(field)), "{path}: {problem}");
    }
    house.stop().await;
}

/// A tenant is made once for a key, also by two at once; its first API key comes again with the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_made_once_for_an_idempotency_key() {
    let house = House::embedded().await;
    let post = async |path: &str, key: &str, body: &str| {
        let bearer = format!("Bearer {ADMIN}");
        raw_as(&house, &bearer, "POST", path, &[("Idempotency-Key", key)], body).await
    };
    let body = r#"{"name":"Once"}"#;
    let (one, two) = tokio::join!(post("/v1/tenants", "t-1", body), post("/v1/tenants", "t-1", body));
    let three = post("/v1/tenants", "t-1", body).await;
    for (status, _, made) in [&one, &two, &three] {
        assert_eq!((*status, made), (201, &one.2));
    }
    assert!(three.1.contains("idempotency-replayed: true"), "{}", three.1);
    let other = post("/v1/tenants", "t-2", body).await;
    assert_ne!(other.2["id"], one.2["id"]);
    let (status, _, problem) = post("/v1/tenants", "t-1", r#"{"name":"Other"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency_key_reused")));
    let tenants = wanted("GET", &house.url, "/v1/tenants", Some(ADMIN), None).await.unwrap();
    assert_eq!(tenants["items"].as_array().unwrap().len(), 3, "{tenants}");
    let key = one.2["api_key"]["secret"].as_str().unwrap();
    assert_eq!(call("GET", &house.url, "/v1/doors", Some(key), None).await.unwrap().0, 200);
    let path = format!("/v1/tenants/{}/keys", id(&one.2));
    let (first, second) = (post(&path, "k-1", "").await, post(&path, "k-1", "").await);
    assert_eq!((first.0, &first.2), (201, &second.2));
    house.stop().await;
}

#[tokio::test]
async fn everything_of_the_registry_can_be_made_listed_and_read_back() {
    let house = House::embedded().await;
    let area = house.post("/v1/areas", json!({ "name": "Lab", "site": house.site })).await;
    let calendar = house.post("/v1/calendars", json!({ "dates": ["2028-02-29", "2028-01-01"] })).await;
    let schedule = json!({
        "weekly": [{ "days": 31, "from_minute": 480, "until_minute": 1080 }],
        "holidays": { "calendar": calendar["id"], "windows": [] },
    });
    let schedule = house.post("/v1/schedules", schedule).await;
    let group = house.post("/v1/groups", json!({ "name": "Staff" })).await;
    let person = house.post("/v1/people", json!({ "name": "Ada", "groups": [group["id"]] })).await;
    let door = json!({ "name": "Lab", "site": house.site, "area": area["id"], "tags": ["lab"] });
    let door = house.post("/v1/doors", door).await;
    let card = json!({ "person": person["id"], "kind": "card", "shown": "0042" });
    let card_made = house.post("/v1/credentials", card.clone()).await;
    assert!(card_made.get("digest").is_none() && card_made.get("shown").is_none(), "{card_made}");
    assert_eq!(house.ask("POST", "/v1/credentials", Some(card)).await.0, 422, "one card, given twice");
    let grant = json!({
        "who": { "group": group["id"] }, "scope": { "tag": "lab" }, "schedule": schedule["id"], "uses_max": 5,
    });
    house.post("/v1/grants", grant).await;
    for resource in app_core::api::RESOURCES {
        let list = house.get(&format!("/v1/{}", resource.path)).await;
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{}: {list}", resource.path);
        let path = format!("/v1/{}/{}", resource.path, id(&items[0]));
        let read = house.get(&path).await;
        let etag = format!("\"{}\"", read["version"]);
        let (status, _, written) = raw(&house, "PUT", &path, &[("If-Match", &etag)], &read.to_string()).await;
        assert_eq!(status, 200, "{path}: {read} came back as {written}");
    }
    let ask = json!({ "door": door["id"], "credential": card_made["id"] });
    let explained = house.post("/v1/access/explain", ask).await;
    assert_eq!(explained["considered"].as_array().unwrap().len(), 1, "{explained}");
    for (path, code) in
        [("/v1/sites/", &house.site), ("/v1/groups/", &id(&group)), ("/v1/schedules/", &id(&schedule))]
    {
        let (status, problem) = house.ask("DELETE", &format!("{path}{code}"), None).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("in_use")), "{path}");
    }
    house.stop().await;
}

#[tokio::test]
async fn another_tenant_is_as_if_it_were_not_there() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let person = house.person("Ada").await;
    let grant = house.grant(&person, &door).await;
    let device = house.device(&door).await.device.to_string();
    let code = house.post(&format!("/v1/doors/{door}/enrolments"), json!({})).await;
    let other =
        wanted("POST", &house.url, "/v1/tenants", Some(ADMIN), Some(&json!({ "name": "Other" }))).await;
    let key = other.unwrap()["api_key"]["secret"].as_str().unwrap().to_owned();
    let site = house.site.clone();
    let unlock = json!({ "kind": "unlock" });
    for (method, path, body) in [
        ("GET", format!("/v1/sites/{site}"), None),
        ("GET", format!("/v1/doors/{door}"), None),
        ("PATCH", format!("/v1/doors/{door}"), Some(json!({ "name": "Mine" }))),
        ("PUT", format!("/v1/doors/{door}/mode"), Some(json!({ "mode": "unlocked" }))),
        ("POST", format!("/v1/doors/{door}/commands"), Some(unlock)),
        ("POST", format!("/v1/doors/{door}/enrolments"), Some(json!({}))),
        ("POST", format!("/v1/people/{person}/enrolments"), Some(json!({}))),
        ("DELETE", format!("/v1/grants/{grant}"), None),
        ("GET", format!("/v1/devices/{device}"), None),
        ("POST", format!("/v1/devices/{device}/revoke"), Some(json!({}))),
    ] {
        let (status, answer) = call(method, &house.url, &path, Some(&key), body.as_ref()).await.unwrap();
        assert_eq!(status, 404, "{method} {path}: {answer}");
    }
    for path in
        ["/v1/sites", "/v1/doors", "/v1/people", "/v1/devices", "/v1/events", "/v1/commands", "/v1/lockdowns"]
    {
        let list = wanted("GET", &house.url, path, Some(&key), None).await.unwrap();
        assert_eq!(list["items"], json!([]), "{path}");
    }
    let body = json!({ "name": "Their door", "site": site });
    let (status, _) = call("POST", &house.url, "/v1/doors", Some(&key), Some(&body)).await.unwrap();
    assert_eq!(status, 422, "a site of somebody else");
    // A code opens what it was made for, once, whoever types it.
    let mut dice = dice_of_the_system().unwrap();
    let typed = code["code"].as_str().unwrap();
    let own = || own_key(Algorithm::EdDSA, Forward::begin().now(), &mut dice_of_the_system().unwrap());
    assert!(enrol_door(&house.url, typed, own(), &mut dice).await.is_ok());
    let again = enrol_door(&house.url, typed, own(), &mut dice).await.unwrap_err().to_string();
    assert!(again.contains("410 gone"), "{again}");
    house.stop().await;
}

#[tokio::test]
async fn keys_have_rights_and_end() {
    let house = House::embedded().await;
    let door = house.door("Front").await;
    let made = house.post("/v1/keys", json!({ "name": "screen", "rights": "read" })).await;
    let key = made["secret"].as_str().unwrap();
    let as_key = async |method: &str, path: &str, body: Option<Value>| {
        call(method, &house.url, path, Some(key), body.as_ref()).await.unwrap().0
    };
    assert_eq!(as_key("GET", "/v1/doors", None).await, 200);
    assert_eq!(as_key("POST", "/v1/people", Some(json!({ "name": "x" }))).await, 403);
    assert_eq!(
        as_key("POST", &format!("/v1/doors/{door}/commands"), Some(json!({ "kind": "unlock" }))).await,
        403
    );
    assert_eq!(as_key("GET", "/v1/audit", None).await, 403);
    house.post(&format!("/v1/keys/{}/revoke", id(&made)), json!({})).await;
    assert_eq!(as_key("GET", "/v1/doors", None).await, 401);
    let (status, _) =
        call("POST", &house.url, "/v1/tenants", Some(&house.key), Some(&json!({ "name": "x" })))
            .await
            .unwrap();
    assert_eq!(status, 401, "a tenant's key makes no tenants");
    // A tenant whose keys are lost gets one by the administrator, and nobody else gets one that way.
    let list = wanted("GET", &house.url, "/v1/tenants", Some(ADMIN), None).await.unwrap();
    let path = format!("/v1/tenants/{}/keys", list["items"][0]["id"].as_str().unwrap());
    assert_eq!(house.ask("POST", &path, Some(json!({}))).await.0, 401);
    let made = wanted("POST", &house.url, &path, Some(ADMIN), Some(&json!({}))).await.unwrap();
    let (status, _) = call("GET", &house.url, "/v1/audit", made["secret"].as_str(), None).await.unwrap();
    assert_eq!(status, 200);
    let nobody = "/v1/tenants/ten_01m7xscbq8fybrc31ynzza5y8g/keys";
    let (status, _) = call("POST", &house.url, nobody, Some(ADMIN), Some(&json!({}))).await.unwrap();
    assert_eq!(status, 404);
    let (status, page) = house.ask("GET", "/v1/keys?limit=1", None).await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (200, 1));
    let after = page["next"].as_str().unwrap();
    let rest = house.get(&format!("/v1/keys?limit=1&after={after}")).await;
    assert_ne!(rest["items"][0]["id"], page["items"][0]["id"]);
    house.stop().await;
}

/// Facts follow what this process commits, without being read again: they have to be what the database holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_in_memory_are_those_of_the_database() {
    let house = House::embedded().await;
    let tenant = house.get("/v1/audit/checkpoints").await["tenant"].as_str().unwrap().parse().unwrap();
    let tenant = house.core.tenant(tenant).await.unwrap();
    let now = || house.core.clock.now();
    tenant.facts(&house.core.store, now()).await.unwrap();
    let front = house.door("Front").await;
    let back = house.door("Back").await;
    let person = house.person("Ada").await;
    let grant = house.grant(&person, &front).await;
    house.device(&front).await;
    house.device(&front).await;
    let phone = house.phone(&person).await;
    let card = json!({ "person": person, "kind": "card", "shown": "0042" });
    let card = id(&house.post("/v1/credentials", card).await);
    for (method, path, body) in [
        ("PATCH", format!("/v1/doors/{back}"), Some(json!({ "name": "Yard" }))),
        ("PUT", format!("/v1/doors/{back}/mode"), Some(json!({ "mode": "unlocked" }))),
        ("PATCH", format!("/v1/credentials/{card}"), Some(json!({ "state": "suspended" }))),
        ("PATCH", format!("/v1/grants/{grant}"), Some(json!({ "uses_max": 3 }))),
        ("POST", format!("/v1/phones/{}/revoke", phone.key.kid), Some(json!({}))),
        ("DELETE", format!("/v1/credentials/{card}"), None),
        ("DELETE", format!("/v1/doors/{back}"), None),
    ] {
        let (status, answer) = house.ask(method, &path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    }
    let lockdown = json!({ "scope": "tenant", "effect": "nobody" });
    let kept = house.post("/v1/lockdowns", lockdown.clone()).await;
    let over = house.post("/v1/lockdowns", lockdown).await;
    house.post(&format!("/v1/lockdowns/{}/revert", over["activation"].as_str().unwrap()), json!({})).await;
    // At once, from everywhere: some decide with the old ones while new ones are made.
    futures::future::join_all(
        (0..20).map(|number| house.post("/v1/people", json!({ "name": format!("P{number}") }))),
    )
    .await;
    let held = tenant.facts(&house.core.store, now()).await.unwrap();
    let rows = house.core.store.facts(tenant.scope).await.unwrap();
    let read = app_core::facts::TenantFacts::read(tenant.id, &rows, now()).unwrap();
    assert_eq!(held.version, read.version);
    assert_eq!(held.facts.people.len(), 21);
    assert_eq!(held.lockdowns.statements.len(), 1, "{kept}");
    // Zones are expanded from the moment of reading on; all else has to be the same.
    let told = |facts: &app_core::facts::TenantFacts| {
        let mut facts = facts.clone();
        facts.stale_at = keyway_domain::time::UnixMs(0);
        facts.facts.zones.clear();
        format!("{facts:#?}")
    };
    assert_eq!(told(&held), told(&read));
    house.stop().await;
}

/// A grant that would give a door more than travels in one bundle is refused by the door's name, not noticed later by a door
/// that silently stays behind.
#[tokio::test]
async fn a_grant_that_no_door_could_be_told_is_refused() {
    use app_core::store::change::{Change, Expect, RecordChange, RecordDraft};
    use app_core::store::kind::RecordKind;
    use keyway_domain::credential::{Credential, CredentialKind, CredentialState, Digest, Validity};
    use keyway_domain::id::{CredentialId, PersonId};
    let house = House::embedded().await;
    let (front, back) = (house.door("Front").await, house.door("Back").await);
    let (many, few) = (house.person("Somebody with thousands of cards").await, house.person("Ada").await);
    let tenant = house.get("/v1/audit/checkpoints").await["tenant"].as_str().unwrap().parse().unwrap();
    let (tenant, now) = (house.core.tenant(tenant).await.unwrap(), house.core.clock.now());
    for thousand in 0..4u16 {
        let mut change = Change::at(now);
        for number in 0..1_000u16 {
            let mut bytes = [0; 10];
            bytes[..2].copy_from_slice(&(thousand * 1_000 + number).to_be_bytes());
            let credential = Credential {
                id: CredentialId::mint(now, bytes),
                person: PersonId::parse(&many).unwrap(),
                kind: CredentialKind::Card,
                digest: Digest::of(&[7; 32], CredentialKind::Card, None, &bytes),
                state: CredentialState::Active,
                validity: Validity::default(),
                duress: false,
            };
            let draft = RecordDraft::of(RecordKind::Credential, credential.id, Expect::Absent, &credential);
            change.records.push(RecordChange::Put(draft.under(&many)));
        }
        house.core.store.commit(tenant.scope, change).await.unwrap();
    }
    house.grant(&few, &front).await;
    let grant = json!({ "who": { "person": many }, "scope": { "doors": [back] } });
    let (status, problem) = house.ask("POST", "/v1/grants", Some(grant)).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("bundle_too_large")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("\"Back\"") && detail.contains(&back) && detail.contains("4000 credentials"),
        "{detail}"
    );
    assert_eq!(house.get("/v1/grants").await["items"].as_array().unwrap().len(), 1);
    house.stop().await;
}
