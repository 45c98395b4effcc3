//! The part of the server API that steers connections wherever they are: subscribe, unsubscribe, disconnect. It only
//! sends controls over the bus; which connections they mean is each node's business.

use keyway_bus::{Control, Target};
use keyway_protocol::{Close, ErrorReply, close};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Outcome, Since, bad_request, given, options_of, payload};
use crate::hub::bus_error;
use crate::node::{Node, SubscribeOptions};

/// Codes that SDKs understand as a server's close.
const CLOSE_CODES: std::ops::RangeInclusive<u32> = 3000..=4999;

#[derive(Deserialize)]
pub(super) struct SubscribeRequest<'a> {
    #[serde(default)]
    user: String,
    #[serde(default)]
    client: String,
    #[serde(default)]
    channel: String,
    #[serde(default, borrow, deserialize_with = "given")]
    info: Option<&'a RawValue>,
    #[serde(default)]
    b64info: String,
    #[serde(default, borrow, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    b64data: String,
    /// Seconds since 1970; 0 is never.
    #[serde(default)]
    expire_at: u64,
    #[serde(default)]
    recover_since: Option<Since>,
}

#[derive(Deserialize)]
pub(super) struct UnsubscribeRequest {
    #[serde(default)]
    user: String,
    #[serde(default)]
    client: String,
    #[serde(default)]
    channel: String,
}

#[derive(Deserialize)]
pub(super) struct DisconnectRequest {
    #[serde(default)]
    user: String,
    #[serde(default)]
    client: String,
    #[serde(default)]
    disconnect: Option<Advice>,
    #[serde(default)]
    whitelist: Vec<String>,
}

#[derive(Deserialize)]
struct Advice {
    code: u32,
    #[serde(default)]
    reason: String,
}

fn target(user: String, client: String) -> Result<Target, ErrorReply> {
    if user.is_empty() && client.is_empty() {
        return Err(bad_request("name a `user` or a `client`"));
    }
    Ok(Target { user, client, ..Target::default() })
}

async fn tell(node: &Node, control: Control) -> Outcome {
    node.bus().control(control).await.map_err(|error| bus_error(&error))?;
    Ok(json!({}))
}

pub(super) async fn subscribe(node: &Node, request: SubscribeRequest<'_>) -> Outcome {
    options_of(node, &request.channel)?;
    let options = SubscribeOptions {
        recover_since: request.recover_since.map(|since| (since.epoch, since.offset)),
        info: payload("info", request.info, &request.b64info)?.unwrap_or_default(),
        data: payload("data", request.data, &request.b64data)?.unwrap_or_default(),
        expire_at_s: request.expire_at,
    };
    let target = target(request.user, request.client)?;
    let options = options.encode();
    tell(node, Control::Subscribe { target, channel: request.channel, options }).await
}

/// Without a channel: from all of them.
pub(super) async fn unsubscribe(node: &Node, request: UnsubscribeRequest) -> Outcome {
    if !request.channel.is_empty() {
        options_of(node, &request.channel)?;
    }
    let target = target(request.user, request.client)?;
    let (code, reason) = close::unsubscribe::SERVER;
    let reason = reason.to_owned();
    tell(node, Control::Unsubscribe { target, channel: request.channel, code, reason }).await
}

pub(super) async fn disconnect(node: &Node, request: DisconnectRequest) -> Outcome {
    let target = target(request.user, request.client)?;
    let (code, reason) = match request.disconnect {
        None => (u32::from(Close::FORCE_DISCONNECT.code), String::new()),
        Some(advice) if CLOSE_CODES.contains(&advice.code) => (advice.code, advice.reason),
        Some(advice) => {
            let (first, last) = (CLOSE_CODES.start(), CLOSE_CODES.end());
            return Err(bad_request(&format!("`disconnect.code` {}: from {first} to {last}", advice.code)));
        }
    };
    tell(node, Control::Disconnect { target, code, reason, keep: request.whitelist }).await
}
