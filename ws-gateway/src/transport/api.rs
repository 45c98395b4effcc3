//! The server API over HTTP, for backends without access to the bus: Centrifugo's requests and answers for
//! publish, broadcast, subscribe, unsubscribe, disconnect, presence, presence_stats, history and info.

mod steer;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes as Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyway_bus::{ClientInfo, History, HistoryFilter, NewPublication, Position, PublishOptions, Tags};
use keyway_protocol::{ChannelName, ErrorReply};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::hub::bus_error;
use crate::namespace::ChannelOptions;
use crate::node::Node;

#[derive(Clone)]
pub(super) struct ApiState {
    pub node: Arc<Node>,
    pub key: Arc<str>,
}

/// Channels in one broadcast: the answer has one entry for each.
const BROADCAST_CHANNELS_MAX: usize = 1000;

pub(super) async fn call(
    State(state): State<ApiState>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !same(given_key(&headers), state.key.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, "X-API-Key is missing or wrong\n").into_response();
    }
    let node = &state.node;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let outcome = match method.as_str() {
        "publish" => run(body, |it| publish(node, it)).await,
        "broadcast" => run(body, |it| broadcast(node, it)).await,
        "subscribe" => run(body, |it| steer::subscribe(node, it)).await,
        "unsubscribe" => run(body, |it| steer::unsubscribe(node, it)).await,
        "disconnect" => run(body, |it| steer::disconnect(node, it)).await,
        "presence" => run(body, |it| presence(node, it)).await,
        "presence_stats" => run(body, |it| presence_stats(node, it)).await,
        "history" => run(body, |it| history(node, it)).await,
        "info" => Ok(Ok(info(node))),
        _ => return (StatusCode::NOT_FOUND, "no such method\n").into_response(),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(unreadable) => {
            return (StatusCode::BAD_REQUEST, format!("unreadable {method} request: {unreadable}\n"))
                .into_response();
        }
    };
    let by_status = headers.get("x-centrifugo-error-mode").is_some_and(|mode| mode == "transport");
    let (status, answer) = match outcome {
        Ok(result) => (StatusCode::OK, json!({ "result": result })),
        Err(error) if by_status => (status_of(&error), shown_error(&error)),
        Err(error) => (StatusCode::OK, json!({ "error": shown_error(&error) })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// `X-API-Key: <key>`, or `Authorization: apikey <key>`. Never in the address.
fn given_key(headers: &HeaderMap) -> &[u8] {
    if let Some(key) = headers.get("x-api-key") {
        return key.as_bytes();
    }
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match authorization.and_then(|value| value.split_once(' ')) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("apikey") => key.trim().as_bytes(),
        _ => b"",
    }
}

/// The HTTP status for who asked with `X-Centrifugo-Error-Mode: transport`.
fn status_of(error: &ErrorReply) -> StatusCode {
    match error.code {
        102 | 104 => StatusCode::NOT_FOUND,
        107 | 108 => StatusCode::BAD_REQUEST,
        112 => StatusCode::RANGE_NOT_SATISFIABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn shown_error(error: &ErrorReply) -> Value {
    json!({ "code": error.code, "message": error.message })
}

/// Error 107 that says what is wrong with the request.
fn bad_request(why: &str) -> ErrorReply {
    ErrorReply { message: format!("bad request: {why}"), ..ErrorReply::bad_request() }
}

/// Without a shortcut at the first difference: the time tells nothing about the key. Both sides are hashed first
/// so that it tells nothing about the length either.
fn same(given: &[u8], key: &[u8]) -> bool {
    let digest = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    let (a, b) = (digest(given), digest(key));
    a.as_ref().iter().zip(b.as_ref()).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

type Outcome = Result<Value, ErrorReply>;

/// Err: the body is not JSON of the method's shape.
async fn run<'a, T: Deserialize<'a>, F: Future<Output = Outcome>>(
    body: &'a [u8],
    work: impl FnOnce(T) -> F,
) -> Result<Outcome, serde_json::Error> {
    Ok(work(serde_json::from_slice(body)?).await)
}

#[derive(Deserialize)]
struct PublishRequest<'a> {
    #[serde(default)]
    channel: String,
    #[serde(default, borrow, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    b64data: String,
    #[serde(default)]
    skip_history: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    idempotency_key: String,
}

#[derive(Deserialize)]
struct BroadcastRequest<'a> {
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default, borrow, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    b64data: String,
    #[serde(default)]
    skip_history: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    idempotency_key: String,
}

/// What is there is given, also when it is `null`.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Raw JSON, or bytes in base64 where they are no JSON.
fn payload(field: &str, json: Option<&RawValue>, base64: &str) -> Result<Option<Bytes>, ErrorReply> {
    if base64.is_empty() {
        return Ok(json.map(|json| Bytes::copy_from_slice(json.get().as_bytes())));
    }
    match STANDARD.decode(base64) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(_) => Err(bad_request(&format!("`b64{field}` is not base64"))),
    }
}

fn options_of<'a>(node: &'a Node, channel: &str) -> Result<&'a ChannelOptions, ErrorReply> {
    let name = ChannelName::parse(channel).map_err(|_| ErrorReply::bad_request())?;
    node.rules.namespaces.options(&name).ok_or_else(ErrorReply::unknown_channel)
}

/// What a publication is beside its channel.
struct Published {
    data: Bytes,
    tags: Tags,
    skip_history: bool,
    idempotency_key: String,
}

async fn publish(node: &Node, request: PublishRequest<'_>) -> Outcome {
    let data = payload("data", request.data, &request.b64data)?.ok_or_else(|| bad_request("no `data`"))?;
    let PublishRequest { channel, skip_history, tags, idempotency_key, .. } = request;
    let tags = tags.into_iter().collect();
    publish_to(node, &channel, Published { data, tags, skip_history, idempotency_key }).await
}

async fn publish_to(node: &Node, channel: &str, what: Published) -> Outcome {
    let options = options_of(node, channel)?;
    let mut options = if what.skip_history { PublishOptions::default() } else { options.publish_options() };
    if !what.idempotency_key.is_empty() {
        options = options.once(what.idempotency_key);
    }
    let publication = NewPublication {
        data: what.data,
        tags: what.tags,
        time_ms: node.now().unix_ms,
        ..NewPublication::default()
    };
    let published =
        node.bus().publish(channel, publication, &options).await.map_err(|error| bus_error(&error))?;
    Ok(position(&published.position))
}

fn position(position: &Position) -> Value {
    if position.is_positioned() {
        json!({ "offset": position.offset, "epoch": position.epoch.as_str() })
    } else {
        json!({})
    }
}

async fn broadcast(node: &Node, request: BroadcastRequest<'_>) -> Outcome {
    if request.channels.is_empty() || request.channels.len() > BROADCAST_CHANNELS_MAX {
        return Err(bad_request(&format!("`channels` has from 1 to {BROADCAST_CHANNELS_MAX} names")));
    }
    let data = payload("data", request.data, &request.b64data)?.ok_or_else(|| bad_request("no `data`"))?;
    let tags: Tags = request.tags.into_iter().collect();
    let publications = request.channels.iter().map(|channel| {
        let idempotency_key = match request.idempotency_key.as_str() {
            "" => String::new(),
            key => format!("{key}:{channel}"),
        };
        let (data, tags) = (data.clone(), tags.clone());
        let what = Published { data, tags, skip_history: request.skip_history, idempotency_key };
        publish_to(node, channel, what)
    });
    let responses: Vec<Value> = futures::future::join_all(publications)
        .await
        .into_iter()
        .map(|outcome| match outcome {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": shown_error(&error) }),
        })
        .collect();
    Ok(json!({ "responses": responses }))
}

#[derive(Deserialize)]
struct ChannelRequest {
    #[serde(default)]
    channel: String,
    #[serde(default)]
    limit: i64,
    #[serde(default)]
    since: Option<Since>,
    #[serde(default)]
    reverse: bool,
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    epoch: String,
}

async fn presence(node: &Node, request: ChannelRequest) -> Outcome {
    if !options_of(node, &request.channel)?.presence {
        return Err(ErrorReply::not_available());
    }
    let clients = node.bus().presence(&request.channel).await.map_err(|error| bus_error(&error))?;
    let clients: BTreeMap<String, Value> =
        clients.iter().map(|info| (info.client.clone(), shown(info))).collect();
    Ok(json!({ "presence": clients }))
}

async fn presence_stats(node: &Node, request: ChannelRequest) -> Outcome {
    if !options_of(node, &request.channel)?.presence {
        return Err(ErrorReply::not_available());
    }
    let stats = node.bus().presence_stats(&request.channel).await.map_err(|error| bus_error(&error))?;
    Ok(json!({ "num_clients": stats.clients, "num_users": stats.users }))
}

async fn history(node: &Node, request: ChannelRequest) -> Outcome {
    if !options_of(node, &request.channel)?.has_history() {
        return Err(ErrorReply::not_available());
    }
    let max = node.rules.limits.history_publications_max;
    let filter = HistoryFilter {
        since: request
            .since
            .as_ref()
            .map(|since| Position::new(keyway_bus::Epoch::new(&since.epoch), since.offset)),
        limit: usize::try_from(request.limit).map_or(max, |limit| limit.min(max)),
        reverse: request.reverse,
    };
    let read: History =
        node.bus().history(&request.channel, filter).await.map_err(|error| bus_error(&error))?;
    if request.since.is_some_and(|since| since.epoch != read.top.epoch.as_str()) {
        return Err(ErrorReply::unrecoverable_position());
    }
    let publications: Vec<Value> = read
        .publications
        .iter()
        .map(|it| {
            let mut shown_publication = json!({ "data": embedded(&it.data), "offset": it.offset });
            if let Some(info) = &it.info {
                shown_publication["info"] = shown(info);
            }
            if !it.tags.is_empty() {
                shown_publication["tags"] =
                    it.tags.iter().cloned().collect::<BTreeMap<_, _>>().into_iter().collect();
            }
            shown_publication
        })
        .collect();
    Ok(json!({ "publications": publications, "offset": read.top.offset, "epoch": read.top.epoch.as_str() }))
}

fn shown(info: &ClientInfo) -> Value {
    let mut value = json!({ "user": info.user, "client": info.client });
    for (name, data) in [("conn_info", &info.conn_info), ("chan_info", &info.chan_info)] {
        if !data.is_empty() {
            value[name] = embedded(data);
        }
    }
    value
}

/// JSON as it is; anything else has no place in a JSON answer.
fn embedded(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or(Value::Null)
}

fn info(node: &Node) -> Value {
    let readings = node.readings();
    json!({
        "nodes": [{
            "uid": node.bus().node_id(),
            "name": "ws-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "num_clients": readings.connections,
            "num_users": readings.users,
            "num_channels": readings.channels,
            "num_subs": readings.subscriptions,
            "uptime": node.now().mono_ms / 1000,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_whole() {
        for (given, key, expected) in [
            ("secret", "secret", true),
            ("secre", "secret", false),
            ("", "secret", false),
            ("Secret", "secret", false),
        ] {
            assert_eq!(same(given.as_bytes(), key.as_bytes()), expected, "{given}");
        }
    }
}
