//! The Lua scripts. Each touches the keys of one partition only and is atomic, which is what lets a crash come
//! between any two calls. Numbers stay below 2^53, where Lua counts exactly and prints without an exponent
//! (below 10^14).

use std::sync::LazyLock;

/// A script with the digest by which Redis knows it.
#[derive(Debug)]
pub(crate) struct Script {
    pub text: String,
    pub sha: String,
}

impl Script {
    fn new(text: &str) -> Script {
        Script { text: text.to_owned(), sha: fred::util::sha1_hash(text) }
    }
}

/// The publishing scripts name the command: `PUBLISH`, or `SPUBLISH` in a cluster.
#[derive(Debug)]
pub(crate) struct Publishing {
    pub stored: Script,
    pub once: Script,
}

impl Publishing {
    pub(crate) fn new(sharded: bool) -> Publishing {
        let command = if sharded { "spublish" } else { "publish" };
        Publishing {
            stored: Script::new(&STORED.replace("$publish", command)),
            once: Script::new(&ONCE.replace("$publish", command)),
        }
    }
}

/// KEYS numbering, stream, live channel [, idempotency key]
/// ARGV payload, fresh epoch, size, ttl ms, numbering ttl ms, idempotency ttl ms
/// Answers `offset:epoch`, with a leading `=` for a publication already known.
///
/// A numbering that is gone takes the old stream with it: its offsets mean nothing any more.
const STORED: &str = "\
local once = KEYS[4]
if once then
  local known = redis.call('get', once)
  if known then return '=' .. known end
end
local epoch = redis.call('hget', KEYS[1], 'e')
if not epoch then
  epoch = ARGV[2]
  redis.call('del', KEYS[1], KEYS[2])
  redis.call('hset', KEYS[1], 'e', epoch)
end
local offset = redis.call('hincrby', KEYS[1], 'o', 1)
redis.call('pexpire', KEYS[1], ARGV[5])
redis.call('xadd', KEYS[2], 'MAXLEN', ARGV[3], offset .. '-0', 'd', ARGV[1])
redis.call('pexpire', KEYS[2], ARGV[4])
local place = offset .. ':' .. epoch
if once then redis.call('set', once, place, 'PX', ARGV[6]) end
redis.call('$publish', KEYS[3], place .. ':' .. ARGV[1])
return place";

/// Without history, but once: KEYS idempotency key, live channel; ARGV message, idempotency ttl ms.
const ONCE: &str = "\
if not redis.call('set', KEYS[1], '0:', 'NX', 'PX', ARGV[2]) then return '=0:' end
redis.call('$publish', KEYS[2], ARGV[1])
return '0:'";

/// KEYS numbering, stream
/// ARGV fresh epoch, numbering ttl ms, limit, since offset or '', since epoch or '', '1' for reverse
/// Answers {epoch, top, entries}.
pub(crate) static HISTORY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
local epoch = redis.call('hget', KEYS[1], 'e')
if not epoch then
  epoch = ARGV[1]
  redis.call('del', KEYS[1], KEYS[2])
  redis.call('hset', KEYS[1], 'e', epoch)
end
redis.call('pexpire', KEYS[1], ARGV[2])
local top = redis.call('hget', KEYS[1], 'o') or '0'
local since = ARGV[4]
if ARGV[3] == '0' or (ARGV[5] ~= '' and ARGV[5] ~= epoch) then return {epoch, top, {}} end
if ARGV[6] == '1' then
  if since ~= '' and tonumber(since) <= 1 then return {epoch, top, {}} end
  local from = '+'
  if since ~= '' and tonumber(since) <= tonumber(top) then from = '(' .. since .. '-0' end
  return {epoch, top, redis.call('xrevrange', KEYS[2], from, '-', 'COUNT', ARGV[3])}
end
local from = '-'
if since ~= '' then
  if tonumber(since) >= tonumber(top) then return {epoch, top, {}} end
  from = '(' .. since .. '-0'
end
return {epoch, top, redis.call('xrange', KEYS[2], from, '+', 'COUNT', ARGV[3])}",
    )
});

/// What removes from presence the clients whose time is over. A stored client is eight hex digits, the length of
/// its user, the user, and the encoded info; the third key counts clients by user.
const PRESENCE_EXPIRE: &str = "\
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function drop(client)
  local stored = redis.call('hget', KEYS[1], client)
  if not stored then return end
  local user = string.sub(stored, 9, 8 + tonumber(string.sub(stored, 1, 8), 16))
  redis.call('hdel', KEYS[1], client)
  redis.call('zrem', KEYS[2], client)
  if redis.call('hincrby', KEYS[3], user, -1) <= 0 then redis.call('hdel', KEYS[3], user) end
end
for _, client in ipairs(redis.call('zrangebyscore', KEYS[2], '-inf', now)) do drop(client) end
";

fn presence(body: &str) -> Script {
    Script::new(&format!("{PRESENCE_EXPIRE}{body}"))
}

/// KEYS clients, times, users; ARGV client, stored, ttl ms. The keys live as long as their longest client.
pub(crate) static PRESENCE_ADD: LazyLock<Script> = LazyLock::new(|| {
    presence(
        "\
drop(ARGV[1])
local user = string.sub(ARGV[2], 9, 8 + tonumber(string.sub(ARGV[2], 1, 8), 16))
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('zadd', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('hincrby', KEYS[3], user, 1)
local last = redis.call('zrange', KEYS[2], -1, -1, 'WITHSCORES')
for i = 1, 3 do redis.call('pexpireat', KEYS[i], math.floor(last[2])) end
return 1",
    )
});

/// ARGV client.
pub(crate) static PRESENCE_REMOVE: LazyLock<Script> = LazyLock::new(|| presence("drop(ARGV[1])\nreturn 1"));

pub(crate) static PRESENCE_LIST: LazyLock<Script> =
    LazyLock::new(|| presence("return redis.call('hvals', KEYS[1])"));

pub(crate) static PRESENCE_STATS: LazyLock<Script> =
    LazyLock::new(|| presence("return {redis.call('hlen', KEYS[1]), redis.call('hlen', KEYS[3])}"));

/// KEYS request stream; ARGV bound, request. Answers 0 when full. Acknowledged entries are deleted, so the
/// length is what waits or is in work.
pub(crate) static PUSH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('xlen', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('xadd', KEYS[1], '*', 'r', ARGV[2])
return 1",
    )
});

/// KEYS consumers; ARGV consumer, ttl ms. Answers the living consumers.
pub(crate) static JOIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
redis.call('zadd', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('zrange', KEYS[1], 0, -1)",
    )
});

/// KEYS lease, fence, request stream; ARGV consumer, ttl ms, group. Answers the fence, or 0 when held.
/// A fence is at least the server's clock in milliseconds: it grows even when Redis lost its data.
pub(crate) static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('exists', KEYS[1]) == 1 then return 0 end
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fence = math.max((tonumber(redis.call('get', KEYS[2])) or 0) + 1, now)
redis.call('set', KEYS[2], string.format('%.0f', fence))
redis.call('set', KEYS[1], string.format('%.0f', fence) .. ':' .. ARGV[1], 'PX', ARGV[2])
redis.pcall('xgroup', 'CREATE', KEYS[3], ARGV[3], '0', 'MKSTREAM')
return fence",
    )
});

/// KEYS lease; ARGV token, ttl ms. Answers 1 while still held.
pub(crate) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])",
    )
});

/// KEYS lease; ARGV token.
pub(crate) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1])",
    )
});

/// KEYS lease, request stream; ARGV token, group, consumer, count.
/// Takes over what earlier holders left unfinished, oldest first: {1, {{id, deliveries, request}}}; {0} when
/// fenced (a bare empty list would read like nothing at all).
pub(crate) static TAKE_OVER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return {0, {}} end
redis.pcall('xgroup', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
local taken = {}
for _, pending in ipairs(redis.call('xpending', KEYS[2], ARGV[2], '-', '+', ARGV[4])) do
  local entries = redis.call('xclaim', KEYS[2], ARGV[2], ARGV[3], 0, pending[1])
  if entries[1] then taken[#taken + 1] = {pending[1], pending[4] + 1, entries[1][2][2]} end
end
return {1, taken}",
    )
});

/// KEYS lease, request stream; ARGV token, group, consumer, id. Counts a delivery; 0 when fenced.
pub(crate) static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return #redis.call('xclaim', KEYS[2], ARGV[2], ARGV[3], 0, ARGV[4])",
    )
});

/// KEYS lease, request stream; ARGV token, group, id. Acknowledges and deletes; -1 when fenced.
pub(crate) static FINISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('xack', KEYS[2], ARGV[2], ARGV[3])
return redis.call('xdel', KEYS[2], ARGV[3])",
    )
});

/// KEYS lease, request stream, dead letters; ARGV token, group, id, request, deliveries, reason, now ms, bound.
pub(crate) static BURY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('xadd', KEYS[3], 'MAXLEN', '~', ARGV[8], '*',
  'r', ARGV[4], 'n', ARGV[5], 'w', ARGV[6], 't', ARGV[7])
redis.call('xack', KEYS[2], ARGV[2], ARGV[3])
return redis.call('xdel', KEYS[2], ARGV[3])",
    )
});

/// KEYS dead letters, request stream; ARGV id, bound. 1 replayed, 0 unknown, -1 full.
pub(crate) static REPLAY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "\
local found = redis.call('xrange', KEYS[1], ARGV[1], ARGV[1])
if not found[1] then return 0 end
if redis.call('xlen', KEYS[2]) >= tonumber(ARGV[2]) then return -1 end
redis.call('xadd', KEYS[2], '*', 'r', found[1][2][2])
redis.call('xdel', KEYS[1], ARGV[1])
return 1",
    )
});
