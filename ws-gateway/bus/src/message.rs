//! What travels down a channel, and the options of publishing and reading. Data only.

use std::sync::Arc;

use bytes::Bytes;

use crate::position::Position;

pub type Tags = Vec<(String, String)>;

/// Who a client is, as others in the channel may see it. `conn_info` and `chan_info` are opaque to the bus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientInfo {
    pub user: String,
    pub client: String,
    pub conn_info: Bytes,
    pub chan_info: Bytes,
}

/// A publication as its publisher makes it: the bus adds the offset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewPublication {
    pub data: Bytes,
    pub info: Option<ClientInfo>,
    pub tags: Tags,
    /// When it was published, in milliseconds since 1970.
    pub time_ms: u64,
}

impl NewPublication {
    pub fn of(data: impl Into<Bytes>) -> NewPublication {
        NewPublication { data: data.into(), ..NewPublication::default() }
    }
}

/// A publication as its receivers get it. `offset` is 0 on channels without history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    pub offset: u64,
    pub data: Bytes,
    pub info: Option<ClientInfo>,
    pub tags: Tags,
    pub time_ms: u64,
}

/// How much of a channel is kept, and for how long after the last publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryOptions {
    /// At least 1. 1 is the cache mode: the latest publication only.
    pub size: u32,
    pub ttl_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOptions {
    pub history: Option<HistoryOptions>,
    /// A publication with a key seen within `idempotency_ttl_ms` is not published again; the first one's
    /// position is the answer.
    pub idempotency_key: Option<String>,
    /// 0 means five minutes.
    pub idempotency_ttl_ms: u64,
}

impl PublishOptions {
    pub const IDEMPOTENCY_TTL_MS: u64 = 300_000;

    pub fn with_history(size: u32, ttl_ms: u64) -> PublishOptions {
        PublishOptions { history: Some(HistoryOptions { size, ttl_ms }), ..PublishOptions::default() }
    }

    pub fn once(mut self, key: impl Into<String>) -> PublishOptions {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn idempotency_ttl(&self) -> u64 {
        if self.idempotency_ttl_ms == 0 { Self::IDEMPOTENCY_TTL_MS } else { self.idempotency_ttl_ms }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Not positioned (empty epoch, offset 0) without history.
    pub position: Position,
    /// The idempotency key was known: nothing was published now.
    pub duplicate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// Only what comes after this position; in reverse order, what comes before it. A position of another
    /// epoch matches nothing: compare it with the answer's `top`.
    pub since: Option<Position>,
    /// 0 reads the position only; anything above [`crate::HISTORY_READ_MAX`] is that bound.
    pub limit: usize,
    pub reverse: bool,
}

impl HistoryFilter {
    pub fn top() -> HistoryFilter {
        HistoryFilter::default()
    }

    pub fn since(position: Position, limit: usize) -> HistoryFilter {
        HistoryFilter { since: Some(position), limit, reverse: false }
    }

    pub fn all() -> HistoryFilter {
        HistoryFilter { since: None, limit: crate::HISTORY_READ_MAX, reverse: false }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    pub publications: Vec<Arc<Publication>>,
    pub top: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresenceStats {
    pub clients: u64,
    pub users: u64,
}
