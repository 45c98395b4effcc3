-- Every table is keyed by tenant first, so that a scope is a prefix of an index. All text, all integers: the same rows in
-- both databases, which is what makes a backup portable. JSON is TEXT: exact bytes are chained and signed. Collation "C":
-- ids and names sort by their bytes, as SQLite does it.

-- One row per tenant, locked first by every write: its counters give order and have no gaps.
CREATE TABLE tenant_heads (
    tenant TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    facts_version BIGINT NOT NULL,
    audit_size BIGINT NOT NULL,
    audit_head TEXT COLLATE "C" NOT NULL,
    event_last BIGINT NOT NULL,
    outbox_last BIGINT NOT NULL,
    outbox_at_ms BIGINT NOT NULL
);

CREATE TABLE records (
    tenant TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    parent TEXT COLLATE "C",
    doc TEXT COLLATE "C" NOT NULL,
    created_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, id)
);
CREATE INDEX records_by_parent ON records (tenant, kind, parent, id) WHERE parent IS NOT NULL;
CREATE INDEX records_by_kind ON records (kind, tenant, id);

CREATE TABLE lookups (
    space TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (space, name)
);
CREATE INDEX lookups_by_record ON lookups (tenant, kind, id);

CREATE TABLE once_keys (
    tenant TEXT COLLATE "C" NOT NULL,
    space TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    asked_digest TEXT COLLATE "C" NOT NULL,
    answer TEXT COLLATE "C" NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, space, name)
);
CREATE INDEX once_keys_by_end ON once_keys (expires_at_ms);

CREATE TABLE commands (
    tenant TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    request TEXT COLLATE "C",
    device TEXT COLLATE "C" NOT NULL,
    door TEXT COLLATE "C" NOT NULL,
    asked_by TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C",
    phone TEXT COLLATE "C",
    command TEXT COLLATE "C" NOT NULL,
    record TEXT COLLATE "C" NOT NULL,
    is_open BIGINT NOT NULL,
    due_at_ms BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX commands_by_request ON commands (tenant, request) WHERE request IS NOT NULL;
CREATE INDEX commands_open ON commands (tenant, device) WHERE is_open = 1;
CREATE INDEX commands_due ON commands (due_at_ms) WHERE due_at_ms IS NOT NULL;

CREATE TABLE intakes (
    tenant TEXT COLLATE "C" NOT NULL,
    device TEXT COLLATE "C" NOT NULL,
    epoch TEXT COLLATE "C" NOT NULL,
    doc TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, device, epoch)
);

CREATE TABLE events (
    tenant TEXT COLLATE "C" NOT NULL,
    ordinal BIGINT NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    door TEXT COLLATE "C",
    occurred_at_ms BIGINT,
    received_at_ms BIGINT NOT NULL,
    json TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, ordinal)
);
CREATE UNIQUE INDEX events_by_source ON events (tenant, source, seq);
CREATE INDEX events_by_door ON events (tenant, door, ordinal) WHERE door IS NOT NULL;

CREATE TABLE audit_entries (
    tenant TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    json TEXT COLLATE "C" NOT NULL,
    chain_after TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Personal data, outside the chain.
CREATE TABLE audit_details (
    tenant TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    hmac_key TEXT COLLATE "C" NOT NULL,
    json TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE checkpoints (
    tenant TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, size)
);

CREATE TABLE outbox (
    tenant TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    history TEXT COLLATE "C" NOT NULL,
    idempotency TEXT COLLATE "C" NOT NULL,
    committed_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT,
    PRIMARY KEY (tenant, seq)
);
CREATE INDEX outbox_in_order ON outbox (committed_at_ms, tenant, seq);
