//! Audit entries as core writes them: who did what to what, with the details beside the chain under a key of their own,
//! so that erasing them leaves the chain whole.

use crate::ids::Ids;
use crate::store::change::{AuditDetails, AuditDraft};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::Serialize;

/// An entry without details.
pub fn entry(actor: impl ToString, action: &str, subject: impl ToString, ids: &mut Ids) -> AuditDraft {
    AuditDraft {
        id: ids.audit(),
        actor: actor.to_string(),
        action: action.to_owned(),
        subject: subject.to_string(),
        details: None,
    }
}

/// With details: the entry holds their HMAC, and they stand beside it.
pub fn detailed<T: Serialize>(draft: AuditDraft, details: &T, ids: &mut Ids) -> AuditDraft {
    let json = serde_json::to_string(details).expect("our details have string keys only");
    let key = [ids.draw(), ids.draw()].concat();
    let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(&key).expect("HMAC takes a key of any length");
    mac.update(json.as_bytes());
    let hmac = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    AuditDraft { details: Some(AuditDetails { hmac, key: URL_SAFE_NO_PAD.encode(key), json }), ..draft }
}
