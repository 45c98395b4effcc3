-- Until when a command may have a place in its door's ledger; NULL for one that never gets there. Core counts them before
-- it makes another.
ALTER TABLE commands ADD COLUMN held_until_ms BIGINT;
CREATE INDEX commands_held ON commands (tenant, device, held_until_ms) WHERE held_until_ms IS NOT NULL;

-- Who does what only one process may do at a time. Belongs to running processes: no backup holds it.
CREATE TABLE leads (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    beat BIGINT NOT NULL
);
