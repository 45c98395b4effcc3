//! The part of the server API that steers connections wherever they are: subscribe, unsubscribe, disconnect. It only
//! sends controls over the bus; which connections they mean is each node's business.

use keyway_bus::{Control, Target};
use keyway_protocol::{Close, ErrorReply, close};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Named, Outcome, Since, bad_request, given, options_of, part, payload};
use crate::hub::bus_error;
use crate::node::{Node, SubscribeOptions};

/// Codes that SDKs understand as a server's close.
const CLOSE_CODES: std::ops::RangeInclusive<u32> = 3000..=4999;

/// Whose connections.
#[derive(Deserialize)]
struct Who {
    #[serde(default)]
    user: String,
    #[serde(default)]
    client: String,
}

/// What a subscription is beside its channel.
#[derive(Deserialize)]
struct Subscription<'a> {
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
struct Parting {
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

impl Who {
    fn target(self) -> Result<Target, ErrorReply> {
        let Who { user, client } = self;
        if user.is_empty() && client.is_empty() {
            return Err(bad_request("name a `user` or a `client`"));
        }
        Ok(Target { user, client, ..Target::default() })
    }
}

async fn tell(node: &Node, control: Control) -> Outcome {
    node.bus().control(control).await.map_err(|error| bus_error(&error))?;
    Ok(json!({}))
}

pub(super) async fn subscribe(node: &Node, body: &[u8]) -> Outcome {
    let (who, Named { channel }, wanted) = (part::<Who>(body)?, part(body)?, part::<Subscription<'_>>(body)?);
    options_of(node, &channel)?;
    let options = SubscribeOptions {
        recover_since: wanted.recover_since.map(|since| (since.epoch, since.offset)),
        info: payload("info", wanted.info, &wanted.b64info)?.unwrap_or_default(),
        data: payload("data", wanted.data, &wanted.b64data)?.unwrap_or_default(),
        expire_at_s: wanted.expire_at,
    };
    let target = who.target()?;
    tell(node, Control::Subscribe { target, channel, options: options.encode() }).await
}

/// Without a channel: from all of them.
pub(super) async fn unsubscribe(node: &Node, body: &[u8]) -> Outcome {
    let (who, Named { channel }) = (part::<Who>(body)?, part(body)?);
    if !channel.is_empty() {
        options_of(node, &channel)?;
    }
    let target = who.target()?;
    let (code, reason) = close::unsubscribe::SERVER;
    tell(node, Control::Unsubscribe { target, channel, code, reason: reason.to_owned() }).await
}

pub(super) async fn disconnect(node: &Node, body: &[u8]) -> Outcome {
    let (who, Parting { disconnect, whitelist }) = (part::<Who>(body)?, part(body)?);
    let target = who.target()?;
    let (code, reason) = match disconnect {
        None => (u32::from(Close::FORCE_DISCONNECT.code), String::new()),
        Some(advice) if CLOSE_CODES.contains(&advice.code) => (advice.code, advice.reason),
        Some(advice) => {
            let (first, last) = (CLOSE_CODES.start(), CLOSE_CODES.end());
            let why = format!("`disconnect.code` {}: from {first} to {last}", advice.code);
            return Err(bad_request(&why).into());
        }
    };
    tell(node, Control::Disconnect { target, code, reason, keep: whitelist }).await
}
