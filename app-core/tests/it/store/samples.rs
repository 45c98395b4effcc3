//! Small rows for the tests: ids by number, changes of one part.

use app_core::store::TenantScope;
use app_core::store::change::{
    AuditDraft, Change, CommandWrite, EventDraft, EventSource, Expect, IntakeWrite, OutboxDraft,
    RecordChange, RecordDraft,
};
use app_core::store::kind::RecordKind;
use app_core::store::row::{CommandRow, History};
use keyway_domain::command::{CommandRecord, State, UnlockCommand};
use keyway_domain::event::intake::Intake;
use keyway_domain::event::{ChainHash, Epoch};
use keyway_domain::id::{AuditId, CommandId, DeviceId, DoorId, RequestId, TenantId};
use keyway_domain::time::UnixMs;
use std::sync::atomic::{AtomicU64, Ordering};

pub const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn bytes(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A number that no other call gets.
pub fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn tenant(number: u64) -> TenantId {
    TenantId::mint(NOW, bytes(number))
}

pub fn scope(number: u64) -> TenantScope {
    TenantScope::of(tenant(number))
}

pub fn door(number: u64) -> DoorId {
    DoorId::mint(NOW, bytes(number))
}

pub fn device(number: u64) -> DeviceId {
    DeviceId::mint(NOW, bytes(number))
}

pub fn request(number: u64) -> RequestId {
    RequestId::mint(NOW, bytes(number))
}

pub fn command_id(number: u64) -> CommandId {
    CommandId::mint(NOW, bytes(number))
}

pub fn at(ms: u64) -> Change {
    Change::at(NOW.plus(ms))
}

pub fn site(id: &str, expect: Expect) -> RecordChange {
    RecordChange::Put(RecordDraft::of(RecordKind::Site, id, expect, &serde_json::json!({ "name": id })))
}

pub fn audit(subject: impl ToString) -> AuditDraft {
    AuditDraft {
        id: AuditId::mint(NOW, bytes(fresh())),
        actor: "core".into(),
        action: "test.done".into(),
        subject: subject.to_string(),
        details: None,
    }
}

pub fn publication(channel: &str, body: impl ToString) -> OutboxDraft {
    OutboxDraft {
        channel: channel.into(),
        body: body.to_string(),
        history: History::Kept,
        idempotency: format!("evt-{}", fresh()),
        expires_at: None,
    }
}

pub fn command(scope: TenantScope, number: u64, asked: u64, due_at: Option<UnixMs>) -> CommandRow {
    let deadline = NOW.plus(10_000);
    CommandRow {
        command: UnlockCommand {
            tenant: scope.tenant(),
            door: door(1),
            device: device(1),
            command: command_id(number),
            created_at: NOW,
            deadline,
            open_ms: 5_000,
            mode_version: 1,
            lockdown_version: 0,
            overrides_lockdown: false,
        },
        record: CommandRecord { created_at: NOW, deadline, state: State::Queued },
        request: Some(request(asked)),
        asked_by: "per_test".into(),
        person: None,
        phone: None,
        due_at,
        version: 0,
    }
}

pub fn new_command(row: CommandRow) -> CommandWrite {
    CommandWrite { expect: Expect::Absent, row }
}

pub const EPOCH: Epoch = Epoch(0x1234);

pub fn event(device: DeviceId, seq: u64) -> EventDraft {
    EventDraft {
        source: EventSource::Device { device, epoch: EPOCH, seq },
        kind: "access.granted".into(),
        door: Some(door(1)),
        occurred_at: Some(NOW),
        json: format!("{{\"seq\":{seq}}}"),
    }
}

pub fn intake(device: DeviceId, expect: Expect, watermark: u64) -> IntakeWrite {
    let intake = Intake { watermark, head: Some(ChainHash::default()), ..Intake::default() };
    IntakeWrite { device, epoch: EPOCH, expect, intake }
}
