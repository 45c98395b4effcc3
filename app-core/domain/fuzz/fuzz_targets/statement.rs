//! Any text as something signed, and any bytes as each statement behind the signature.
#![no_main]

use keyway_domain::audit::Checkpoint;
use keyway_domain::bundle::delta::BundleDelta;
use keyway_domain::command::UnlockCommand;
use keyway_domain::id::KeyId;
use keyway_domain::lockdown::{LockdownSet, LockdownStatement};
use keyway_domain::message::statement::{DesiredState, Revocation, UnlockRequest};
use keyway_domain::sign::{Kind, SigningKey, TrustedKeys};
use keyway_domain::time::UnixMs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::ed25519(KeyId::mint(UnixMs(1), [1; 10]), &[1; 32]);
    let trusted = TrustedKeys::of(key.id, key.public());
    if let Ok(text) = std::str::from_utf8(bytes) {
        for kind in Kind::ALL {
            assert!(trusted.verify(*kind, text).is_err());
        }
        let _ = Checkpoint::verify(text, &[(key.id, key.public())]);
    }
    if let Ok(statement) = serde_json::from_slice::<LockdownStatement>(bytes) {
        let tenant = statement.tenant;
        LockdownSet::default().take(tenant, statement);
    }
    let _ = serde_json::from_slice::<BundleDelta>(bytes);
    let _ = serde_json::from_slice::<UnlockCommand>(bytes);
    let _ = serde_json::from_slice::<DesiredState>(bytes);
    let _ = serde_json::from_slice::<Revocation>(bytes);
    let _ = serde_json::from_slice::<UnlockRequest>(bytes);
});
