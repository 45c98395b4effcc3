//! The handshake: who may open a WebSocket here, in which format. Refusals come before the 101, with
//! `Retry-After` where trying again makes sense.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use keyway_protocol::channel::wildcard_matches;
use keyway_protocol::{ConnectionId, Format};
use ring::rand::SecureRandom;
use tokio::net::TcpStream;

use super::connection::Connection;
use crate::node::{Node, Refusal};

#[derive(Clone)]
pub(super) struct UpgradeState {
    pub node: Arc<Node>,
    pub allowed_origins: Arc<[String]>,
}

/// RFC 6455, 1.3: proves that the server read the request as a WebSocket handshake.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Seconds that a refused client waits: the next second has new accepts, a draining node is gone by then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

pub(super) async fn upgrade(State(state): State<UpgradeState>, mut request: Request) -> Response {
    let node = state.node;
    let handshake = match Handshake::read(request.headers(), request.uri().query(), &state.allowed_origins) {
        Ok(handshake) => handshake,
        Err((status, why)) => {
            node.metrics.refused_request.add(1);
            // Without the address, which may be the very place where a token is.
            tracing::info!(status = status.as_u16(), why, "refused before the upgrade");
            return (status, why).into_response();
        }
    };
    let mut random = [0u8; 18];
    if ring::rand::SystemRandom::new().fill(&mut random).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no randomness").into_response();
    }
    if let Err(refusal) = node.accept() {
        let why = match refusal {
            Refusal::Draining => "draining",
            Refusal::Full => "full",
            Refusal::Rate => "too many connections at once",
        };
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)], why).into_response();
    }
    let place = Place(node);
    let format = handshake.format;
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let (id, jitter) = identity_of(random);
        let node = &place.0;
        node.metrics.accepted.add(1);
        Connection::open(Arc::clone(node), id, format, jitter, parts.io.into_inner(), parts.read_buf)
            .run()
            .await;
    });
    handshake.answer()
}

fn identity_of(random: [u8; 18]) -> (ConnectionId, u16) {
    let (id, jitter) = random.split_at(16);
    let id = <[u8; 16]>::try_from(id).unwrap_or_default();
    (ConnectionId::from_random(id), u16::from_be_bytes([jitter[0], jitter[1]]))
}

/// A reserved place on the node, given back when the connection is over, however it ends.
struct Place(Arc<Node>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.registry.release();
    }
}

struct Handshake {
    accept: String,
    format: Format,
    subprotocol: Option<&'static str>,
}

type Refused = (StatusCode, &'static str);

impl Handshake {
    fn read(
        headers: &HeaderMap,
        query: Option<&str>,
        allowed_origins: &[String],
    ) -> Result<Handshake, Refused> {
        let upgrades = list_contains(headers, header::UPGRADE, "websocket")
            && list_contains(headers, header::CONNECTION, "upgrade");
        if !upgrades {
            return Err((StatusCode::UPGRADE_REQUIRED, "this address speaks WebSocket only"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Version must be 13"));
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"));
        };
        check_origin(headers, allowed_origins)?;
        let query = query.unwrap_or_default();
        // Addresses end up in logs of every proxy on the way.
        if query.split('&').any(names_a_token) {
            return Err((
                StatusCode::BAD_REQUEST,
                "tokens travel in the connect command, never in the address",
            ));
        }
        let offers = |name| list_contains(headers, header::SEC_WEBSOCKET_PROTOCOL, name);
        let asks_binary =
            query.split('&').any(|pair| pair == "format=protobuf" || pair == "cf_protocol=protobuf");
        let (format, subprotocol) = if offers("centrifuge-protobuf") {
            (Format::Protobuf, Some("centrifuge-protobuf"))
        } else if offers("centrifuge-json") {
            (Format::Json, Some("centrifuge-json"))
        } else if asks_binary {
            (Format::Protobuf, None)
        } else {
            (Format::Json, None)
        };
        let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(key.as_bytes());
        digest.update(ACCEPT_SUFFIX);
        Ok(Handshake { accept: STANDARD.encode(digest.finish()), format, subprotocol })
    }

    fn answer(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(name) = self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        response
    }
}

/// Whether a part of a query is where other servers take a token: its own, or a whole connect command.
fn names_a_token(pair: &str) -> bool {
    const NAMES: [&str; 5] = ["token", "access_token", "auth_token", "jwt", "cf_connect"];
    let name = pair.split('=').next().unwrap_or_default();
    NAMES.iter().any(|refused| name.eq_ignore_ascii_case(refused))
}

fn list_contains(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(wanted))
}

/// Browsers send cookies and let any page open a socket; tokens in the first frame make that harmless, and this
/// makes it impossible. Programs send no `Origin`.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refused> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let same_host = !host.is_empty() && origin.split_once("://").is_some_and(|(_, rest)| rest == host);
    if same_host || allowed.iter().any(|pattern| wildcard_matches(pattern, origin)) {
        Ok(())
    } else {
        Err((StatusCode::FORBIDDEN, "this origin is not allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(extra: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::UPGRADE, "WebSocket"),
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::HOST, "gateway.example:8000"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in extra {
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_rfc_example_and_the_formats() {
        let read =
            |extra: &[(HeaderName, &str)], query| Handshake::read(&headers(extra), query, &[]).unwrap();
        assert_eq!(read(&[], None).accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let protocol = header::SEC_WEBSOCKET_PROTOCOL;
        for (extra, query, format, named) in [
            (vec![], None, Format::Json, None),
            (vec![], Some("format=protobuf"), Format::Protobuf, None),
            (vec![(protocol.clone(), "centrifuge-json")], None, Format::Json, Some("centrifuge-json")),
            (vec![(protocol, "x, centrifuge-protobuf")], None, Format::Protobuf, Some("centrifuge-protobuf")),
        ] {
            let handshake = read(&extra, query);
            assert_eq!((handshake.format, handshake.subprotocol), (format, named), "{extra:?} {query:?}");
        }
    }

    #[test]
    fn refused_before_the_upgrade() {
        let allowed = ["https://*.keyway.example".to_owned()];
        for (extra, query, expected) in [
            (vec![(header::UPGRADE, "h2c")], None, Some(StatusCode::UPGRADE_REQUIRED)),
            (vec![(header::SEC_WEBSOCKET_VERSION, "8")], None, Some(StatusCode::BAD_REQUEST)),
            (vec![], Some("a=b&token=x"), Some(StatusCode::BAD_REQUEST)),
            (vec![], Some("Access_Token=x"), Some(StatusCode::BAD_REQUEST)),
            (vec![], Some("cf_connect=%7B%7D"), Some(StatusCode::BAD_REQUEST)),
            (vec![], Some("tokens=x"), None),
            (vec![(header::ORIGIN, "https://evil.example")], None, Some(StatusCode::FORBIDDEN)),
            (vec![(header::ORIGIN, "null")], None, Some(StatusCode::FORBIDDEN)),
            (vec![(header::ORIGIN, "https://console.keyway.example")], None, None),
            (vec![(header::ORIGIN, "http://gateway.example:8000")], None, None),
        ] {
            let outcome = Handshake::read(&headers(&extra), query, &allowed).err().map(|(status, _)| status);
            assert_eq!(outcome, expected, "{extra:?} {query:?}");
        }
    }
}
