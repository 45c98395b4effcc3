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
use keyway_bus::{
    ClientInfo, History, HistoryFilter, NewPublication, Position, Publication, PublishOptions, Tags,
};
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
        "publish" => publish(node, body).await,
        "broadcast" => broadcast(node, body).await,
        "subscribe" => steer::subscribe(node, body).await,
        "unsubscribe" => steer::unsubscribe(node, body).await,
        "disconnect" => steer::disconnect(node, body).await,
        "presence" => presence(node, body).await,
        "presence_stats" => presence_stats(node, body).await,
        "history" => history(node, body).await,
        "info" => Ok(info(node)),
        _ => return (StatusCode::NOT_FOUND, "no such method\n").into_response(),
    };
    let by_status = headers.get("x-centrifugo-error-mode").is_some_and(|mode| mode == "transport");
    let (status, answer) = match outcome {
        Ok(result) => (StatusCode::OK, json!({ "result": result })),
        Err(Fault::Refused(error)) if by_status => (status_of(&error), shown_error(&error)),
        Err(Fault::Refused(error)) => (StatusCode::OK, json!({ "error": shown_error(&error) })),
        Err(Fault::Unreadable(why)) => {
            return (StatusCode::BAD_REQUEST, format!("unreadable {method} request: {why}\n"))
                .into_response();
        }
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

type Outcome = Result<Value, Fault>;

#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The body is not JSON of the method's shape.
    #[error(transparent)]
    Unreadable(#[from] serde_json::Error),
    #[error("error {}: {}", .0.code, .0.message)]
    Refused(ErrorReply),
}

impl From<ErrorReply> for Fault {
    fn from(error: ErrorReply) -> Fault {
        Fault::Refused(error)
    }
}

/// The fields that one purpose takes from a request: several methods ask for the same channel, target or content.
fn part<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    channel: String,
}

#[derive(Deserialize)]
struct NamedAll {
    #[serde(default)]
    channels: Vec<String>,
}

/// What a publication is beside its channel.
#[derive(Deserialize)]
struct Content<'a> {
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

/// Which part of a channel's history.
#[derive(Deserialize)]
struct Range {
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

/// A publication in the bus's terms; its key is its channel's own in a broadcast.
struct Published {
    data: Bytes,
    tags: Tags,
    skip_history: bool,
    idempotency_key: String,
}

impl Content<'_> {
    fn read(self) -> Result<Published, ErrorReply> {
        let data = payload("data", self.data, &self.b64data)?.ok_or_else(|| bad_request("no `data`"))?;
        let tags = self.tags.into_iter().collect();
        let Content { skip_history, idempotency_key, .. } = self;
        Ok(Published { data, tags, skip_history, idempotency_key })
    }
}

async fn publish(node: &Node, body: &[u8]) -> Outcome {
    let (Named { channel }, content) = (part(body)?, part::<Content<'_>>(body)?);
    let what = content.read()?;
    let key = what.idempotency_key.clone();
    Ok(publish_to(node, &channel, &what, key).await?)
}

async fn publish_to(node: &Node, channel: &str, what: &Published, key: String) -> Result<Value, ErrorReply> {
    let options = options_of(node, channel)?;
    let mut options = if what.skip_history { PublishOptions::default() } else { options.publish_options() };
    if !key.is_empty() {
        options = options.once(key);
    }
    let publication = NewPublication {
        data: what.data.clone(),
        tags: what.tags.clone(),
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

async fn broadcast(node: &Node, body: &[u8]) -> Outcome {
    let (NamedAll { channels }, content) = (part(body)?, part::<Content<'_>>(body)?);
    if channels.is_empty() || channels.len() > BROADCAST_CHANNELS_MAX {
        return Err(bad_request(&format!("`channels` has from 1 to {BROADCAST_CHANNELS_MAX} names")).into());
    }
    let what = content.read()?;
    let publications = channels.iter().map(|channel| {
        let key = match what.idempotency_key.as_str() {
            "" => String::new(),
            key => format!("{key}:{channel}"),
        };
        publish_to(node, channel, &what, key)
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

/// The channel whose presence is asked for.
fn present_in(node: &Node, body: &[u8]) -> Result<String, Fault> {
    let Named { channel } = part(body)?;
    match options_of(node, &channel)?.presence {
        true => Ok(channel),
        false => Err(ErrorReply::not_available().into()),
    }
}

async fn presence(node: &Node, body: &[u8]) -> Outcome {
    let channel = present_in(node, body)?;
    let clients = node.bus().presence(&channel).await.map_err(|error| bus_error(&error))?;
    let clients: BTreeMap<String, Value> =
        clients.iter().map(|info| (info.client.clone(), shown(info))).collect();
    Ok(json!({ "presence": clients }))
}

async fn presence_stats(node: &Node, body: &[u8]) -> Outcome {
    let channel = present_in(node, body)?;
    let stats = node.bus().presence_stats(&channel).await.map_err(|error| bus_error(&error))?;
    Ok(json!({ "num_clients": stats.clients, "num_users": stats.users }))
}

async fn history(node: &Node, body: &[u8]) -> Outcome {
    let (Named { channel }, Range { limit, since, reverse }) = (part(body)?, part(body)?);
    if !options_of(node, &channel)?.has_history() {
        return Err(ErrorReply::not_available().into());
    }
    let max = node.rules.limits.history_publications_max;
    let position = |since: &Since| Position::new(keyway_bus::Epoch::new(&since.epoch), since.offset);
    let filter = HistoryFilter {
        since: since.as_ref().map(position),
        limit: usize::try_from(limit).map_or(max, |limit| limit.min(max)),
        reverse,
    };
    let read: History = node.bus().history(&channel, filter).await.map_err(|error| bus_error(&error))?;
    if since.is_some_and(|since| since.epoch != read.top.epoch.as_str()) {
        return Err(ErrorReply::unrecoverable_position().into());
    }
    let publications: Vec<Value> = read.publications.iter().map(|it| shown_publication(it)).collect();
    Ok(json!({ "publications": publications, "offset": read.top.offset, "epoch": read.top.epoch.as_str() }))
}

fn shown_publication(publication: &Publication) -> Value {
    let mut value = json!({ "data": embedded(&publication.data), "offset": publication.offset });
    if let Some(info) = &publication.info {
        value["info"] = shown(info);
    }
    if !publication.tags.is_empty() {
        value["tags"] = publication.tags.iter().cloned().collect::<BTreeMap<_, _>>().into_iter().collect();
    }
    value
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
