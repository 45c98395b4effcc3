//! `time.sync`: core's time, signed over the device's nonce.

use super::calls::{Call, Refused};
use super::{Method, reply};
use crate::core::Core;
use crate::decide::sync::signed_time;
use bytes::Bytes;
use futures::FutureExt as _;
use keyway_domain::message::device::{TimeReply, TimeRequest};
use std::sync::Arc;

pub const METHOD: Method = Method { name: "time.sync", serve: |core, call| serve(core, call).boxed() };
/// A nonce only has to differ each time.
const NONCE_CHARS_MAX: usize = 128;

async fn serve(core: Arc<Core>, call: Call) -> Result<Bytes, Refused> {
    let request: TimeRequest = call.json()?;
    if request.nonce.len() > NONCE_CHARS_MAX {
        return Err(Refused::Malformed("nonce: longer than 128 characters".into()));
    }
    let tenant = core.tenant(call.tenant).await?;
    reply(&TimeReply { time: signed_time(&tenant.key, request.nonce, core.clock.now()) })
}
