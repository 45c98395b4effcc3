-- Every table is keyed by tenant first, so that a scope is a prefix of an index. All text, all integers: the same rows in
-- both databases, which is what makes a backup portable. JSON is TEXT: exact bytes are chained and signed.

-- One row per tenant, locked first by every write: its counters give order and have no gaps.
CREATE TABLE tenant_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    facts_version INTEGER NOT NULL,
    audit_size INTEGER NOT NULL,
    audit_head TEXT NOT NULL,
    event_last INTEGER NOT NULL,
    outbox_last INTEGER NOT NULL,
    outbox_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE records (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    parent TEXT,
    doc TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, id)
) WITHOUT ROWID;
CREATE INDEX records_by_parent ON records (tenant, kind, parent, id) WHERE parent IS NOT NULL;
CREATE INDEX records_by_kind ON records (kind, tenant, id);

CREATE TABLE lookups (
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (space, name)
) WITHOUT ROWID;
CREATE INDEX lookups_by_record ON lookups (tenant, kind, id);

CREATE TABLE once_keys (
    tenant TEXT NOT NULL,
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    asked_digest TEXT NOT NULL,
    answer TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, space, name)
) WITHOUT ROWID;
CREATE INDEX once_keys_by_end ON once_keys (expires_at_ms);

CREATE TABLE commands (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    request TEXT,
    device TEXT NOT NULL,
    door TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    person TEXT,
    phone TEXT,
    command TEXT NOT NULL,
    record TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    due_at_ms INTEGER,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX commands_by_request ON commands (tenant, request) WHERE request IS NOT NULL;
CREATE INDEX commands_open ON commands (tenant, device) WHERE is_open = 1;
CREATE INDEX commands_due ON commands (due_at_ms) WHERE due_at_ms IS NOT NULL;

CREATE TABLE intakes (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    epoch TEXT NOT NULL,
    doc TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, device, epoch)
) WITHOUT ROWID;

CREATE TABLE events (
    tenant TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    source TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    door TEXT,
    occurred_at_ms INTEGER,
    received_at_ms INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (tenant, ordinal)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_source ON events (tenant, source, seq);
CREATE INDEX events_by_door ON events (tenant, door, ordinal) WHERE door IS NOT NULL;

CREATE TABLE audit_entries (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    json TEXT NOT NULL,
    chain_after TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
) WITHOUT ROWID;

-- Personal data, outside the chain.
CREATE TABLE audit_details (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    hmac_key TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    tenant TEXT NOT NULL,
    size INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (tenant, size)
) WITHOUT ROWID;

CREATE TABLE outbox (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    channel TEXT NOT NULL,
    body TEXT NOT NULL,
    history TEXT NOT NULL,
    idempotency TEXT NOT NULL,
    committed_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    PRIMARY KEY (tenant, seq)
) WITHOUT ROWID;
CREATE INDEX outbox_in_order ON outbox (committed_at_ms, tenant, seq);
