//! Events of a device: their identity (device, epoch, seq), their kinds, and the hash chain over them. Owns what an
//! event is called and how a batch is sealed; refuses to know who listens.

pub mod intake;
pub mod outbox;

use crate::clock::ClockQuality;
use crate::decision::Reason;
use crate::id::{CommandId, CredentialId, DeviceId, GrantId, PersonId, TenantId};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Fits a frame of 64 KiB with room for base64 and the envelope.
pub const BATCH_BYTES_MAX: usize = 40 * 1024;
pub const BATCH_ITEMS_MAX: usize = 256;

macro_rules! kinds {
    ($($name:ident = $word:literal,)*) => {
        /// What happened at a device. Closed for us; a word of a newer device reads as `other`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind { $(#[serde(rename = $word)] $name,)* #[serde(other, rename = "other")] Other }

        impl EventKind {
            pub const ALL: &[Self] = &[$(Self::$name,)* Self::Other];

            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* Self::Other => "other" }
            }
        }
    };
}

// What a device reports. EN 60839-11-1 table 3 is the checklist; what core itself says (command.*, grant.*, lockdown.*,
// credential.*) is not made here.
kinds! {
    AccessGranted = "access.granted",
    AccessDenied = "access.denied",
    AccessTaken = "access.taken",
    AccessNotTaken = "access.not_taken",
    AccessRequested = "access.requested",
    AccessRequestTimeout = "access.request_timeout",
    AccessDuress = "access.duress",
    AccessCodeLockout = "access.code_lockout",
    DoorOpened = "door.opened",
    DoorClosed = "door.closed",
    DoorLocked = "door.locked",
    DoorUnlocked = "door.unlocked",
    DoorJammed = "door.jammed",
    DoorForcedOpen = "door.forced_open",
    DoorHeldOpen = "door.held_open",
    DoorHeldOpenCleared = "door.held_open_cleared",
    DoorModeChanged = "door.mode_changed",
    DoorFault = "door.fault",
    DoorExitRequested = "door.exit_requested",
    DeviceRebooted = "device.rebooted",
    DeviceTampered = "device.tampered",
    DeviceTamperCleared = "device.tamper_cleared",
    DevicePowerLost = "device.power_lost",
    DevicePowerRestored = "device.power_restored",
    DeviceBatteryLow = "device.battery_low",
    DeviceClockUnsynced = "device.clock_unsynced",
    DeviceConfigModeEntered = "device.config_mode_entered",
    DeviceConfigModeLeft = "device.config_mode_left",
    DeviceFirmwareUpdated = "device.firmware_updated",
    DeviceBufferOverflow = "device.buffer_overflow",
    DeviceKeyRotated = "device.key_rotated",
}

/// When it happened, as far as the device knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurred {
    /// Absent while the clock was never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixMs>,
    pub clock: ClockQuality,
    #[serde(default)]
    pub error_ms: u32,
}

/// One event as the device wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEvent {
    pub seq: u64,
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub occurred: Occurred,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// With `device.buffer_overflow`: what is lost for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<SeqRange>,
    /// The decision was made by the device alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
}

/// `from` to `to`, both in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeqRange {
    pub from: u64,
    pub to: u64,
}

/// The chain's value after an event: SHA-256(value before, the event's exact bytes). The first value is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    pub fn after(self, item: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(item);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for ChainHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected 64 lower-case hex digits"))
    }
}

impl ChainHash {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        for (slot, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *slot = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }
}

/// A run of events, signed by the device. The items are kept as the exact bytes that the chain was made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventBatch {
    pub tenant: TenantId,
    pub device: DeviceId,
    /// Random, renewed when the counter cannot be proven continuous. As hex, since JSON numbers end at 2^53.
    pub epoch: Epoch,
    pub first_seq: u64,
    /// The chain before the first item.
    pub before: ChainHash,
    /// What the device has had to throw away and core has not yet acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<SeqRange>,
    pub items: Vec<Box<RawValue>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let hex = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(&text, 16) {
            Ok(value) if hex => Ok(Self(value)),
            _ => Err(serde::de::Error::custom("expected an epoch: 16 lower-case hex digits")),
        }
    }
}
