//! The server API over HTTP, for backends without access to the bus: Centrifugo's requests and answers for
//! publish, broadcast, subscribe, unsubscribe, disconnect, presence, presence_stats, history and info.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes as Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use keyway_bus::{
    ClientInfo, Control, History, HistoryFilter, NewPublication, Position, PublishOptions, Target,
};
use keyway_protocol::{ChannelName, ErrorReply};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
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
    let given = headers.get("x-api-key").map(|value| value.as_bytes()).unwrap_or_default();
    if !same(given, state.key.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, "X-API-Key is missing or wrong\n").into_response();
    }
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let answer = match method.as_str() {
        "publish" => answer(parse(body), |it| publish(&state.node, it)).await,
        "broadcast" => answer(parse(body), |it| broadcast(&state.node, it)).await,
        "subscribe" => answer(parse(body), |it| subscribe(&state.node, it)).await,
        "unsubscribe" => answer(parse(body), |it| unsubscribe(&state.node, it)).await,
        "disconnect" => answer(parse(body), |it| disconnect(&state.node, it)).await,
        "presence" => answer(parse(body), |it| presence(&state.node, it)).await,
        "presence_stats" => answer(parse(body), |it| presence_stats(&state.node, it)).await,
        "history" => answer(parse(body), |it| history(&state.node, it)).await,
        "info" => json!({ "result": info(&state.node) }),
        _ => return (StatusCode::NOT_FOUND, "no such method\n").into_response(),
    };
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// Without a shortcut at the first difference: the time tells nothing about the key. Both sides are hashed first
/// so that it tells nothing about the length either.
fn same(given: &[u8], key: &[u8]) -> bool {
    let digest = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    let (a, b) = (digest(given), digest(key));
    a.as_ref().iter().zip(b.as_ref()).fold(0u8, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ErrorReply> {
    serde_json::from_slice(body)
        .map_err(|error| ErrorReply { message: format!("bad request: {error}"), ..ErrorReply::bad_request() })
}

async fn answer<T, F: Future<Output = Result<Value, ErrorReply>>>(
    request: Result<T, ErrorReply>,
    run: impl FnOnce(T) -> F,
) -> Value {
    let outcome = match request {
        Ok(request) => run(request).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(result) => json!({ "result": result }),
        Err(error) => json!({ "error": { "code": error.code, "message": error.message } }),
    }
}

#[derive(Deserialize)]
struct PublishRequest<'a> {
    channel: String,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    skip_history: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    idempotency_key: String,
}

#[derive(Deserialize)]
struct BroadcastRequest<'a> {
    channels: Vec<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    skip_history: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    idempotency_key: String,
}

fn options_of<'a>(node: &'a Node, channel: &str) -> Result<&'a ChannelOptions, ErrorReply> {
    let name = ChannelName::parse(channel).map_err(|_| ErrorReply::bad_request())?;
    node.rules.namespaces.options(&name).ok_or_else(ErrorReply::unknown_channel)
}

async fn publish(node: &Node, request: PublishRequest<'_>) -> Result<Value, ErrorReply> {
    let options = options_of(node, &request.channel)?;
    let mut options =
        if request.skip_history { PublishOptions::default() } else { options.publish_options() };
    if !request.idempotency_key.is_empty() {
        options = options.once(request.idempotency_key);
    }
    let publication = NewPublication {
        data: Bytes::copy_from_slice(request.data.get().as_bytes()),
        tags: request.tags.into_iter().collect(),
        time_ms: node.now().unix_ms,
        ..NewPublication::default()
    };
    let published = node
        .bus()
        .publish(&request.channel, publication, &options)
        .await
        .map_err(|error| bus_error(&error))?;
    Ok(position(&published.position))
}

fn position(position: &Position) -> Value {
    if position.is_positioned() {
        json!({ "offset": position.offset, "epoch": position.epoch.as_str() })
    } else {
        json!({})
    }
}

async fn broadcast(node: &Node, request: BroadcastRequest<'_>) -> Result<Value, ErrorReply> {
    if request.channels.is_empty() || request.channels.len() > BROADCAST_CHANNELS_MAX {
        return Err(ErrorReply::bad_request());
    }
    let publications = request.channels.iter().map(|channel| {
        publish(
            node,
            PublishRequest {
                channel: channel.clone(),
                data: request.data,
                skip_history: request.skip_history,
                tags: request.tags.clone(),
                idempotency_key: if request.idempotency_key.is_empty() {
                    String::new()
                } else {
                    format!("{}:{channel}", request.idempotency_key)
                },
            },
        )
    });
    let responses: Vec<Value> = futures::future::join_all(publications)
        .await
        .into_iter()
        .map(|outcome| match outcome {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": { "code": error.code, "message": error.message } }),
        })
        .collect();
    Ok(json!({ "responses": responses }))
}

#[derive(Deserialize)]
struct TargetRequest {
    #[serde(default)]
    user: String,
    #[serde(default)]
    client: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    disconnect: Option<DisconnectAdvice>,
    #[serde(default)]
    whitelist: Vec<String>,
    #[serde(default)]
    recover_since: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct DisconnectAdvice {
    code: u32,
    #[serde(default)]
    reason: String,
}

impl TargetRequest {
    fn target(&self) -> Result<Target, ErrorReply> {
        if self.user.is_empty() && self.client.is_empty() {
            return Err(ErrorReply {
                message: "bad request: name a user or a client".to_owned(),
                ..ErrorReply::bad_request()
            });
        }
        Ok(Target { user: self.user.clone(), client: self.client.clone(), ..Target::default() })
    }
}

async fn control(node: &Node, control: Control) -> Result<Value, ErrorReply> {
    node.bus().control(control).await.map_err(|error| bus_error(&error))?;
    Ok(json!({}))
}

async fn subscribe(node: &Node, request: TargetRequest) -> Result<Value, ErrorReply> {
    options_of(node, &request.channel)?;
    let target = request.target()?;
    let options = match &request.recover_since {
        Some(since) => to_raw_value(&json!({ "recover_since": since })).map(|raw| raw.get().to_owned()),
        None => Ok("{}".to_owned()),
    };
    let options = Bytes::from(options.map_err(|_| ErrorReply::bad_request())?);
    control(node, Control::Subscribe { target, channel: request.channel, options }).await
}

async fn unsubscribe(node: &Node, request: TargetRequest) -> Result<Value, ErrorReply> {
    options_of(node, &request.channel)?;
    let target = request.target()?;
    let (code, reason) = channel_end();
    control(node, Control::Unsubscribe { target, channel: request.channel, code, reason }).await
}

fn channel_end() -> (u32, String) {
    let (code, reason) = keyway_protocol::close::unsubscribe::SERVER;
    (code, reason.to_owned())
}

async fn disconnect(node: &Node, request: TargetRequest) -> Result<Value, ErrorReply> {
    let target = request.target()?;
    let (code, reason) = match request.disconnect {
        Some(advice) => (advice.code, advice.reason),
        None => (u32::from(keyway_protocol::Close::FORCE_DISCONNECT.code), String::new()),
    };
    control(node, Control::Disconnect { target, code, reason, keep: request.whitelist }).await
}

#[derive(Deserialize)]
struct ChannelRequest {
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
    offset: u64,
    epoch: String,
}

async fn presence(node: &Node, request: ChannelRequest) -> Result<Value, ErrorReply> {
    if !options_of(node, &request.channel)?.presence {
        return Err(ErrorReply::not_available());
    }
    let clients = node.bus().presence(&request.channel).await.map_err(|error| bus_error(&error))?;
    let clients: BTreeMap<String, Value> =
        clients.iter().map(|info| (info.client.clone(), shown(info))).collect();
    Ok(json!({ "presence": clients }))
}

async fn presence_stats(node: &Node, request: ChannelRequest) -> Result<Value, ErrorReply> {
    if !options_of(node, &request.channel)?.presence {
        return Err(ErrorReply::not_available());
    }
    let stats = node.bus().presence_stats(&request.channel).await.map_err(|error| bus_error(&error))?;
    Ok(json!({ "num_clients": stats.clients, "num_users": stats.users }))
}

async fn history(node: &Node, request: ChannelRequest) -> Result<Value, ErrorReply> {
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
