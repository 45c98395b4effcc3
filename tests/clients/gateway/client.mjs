// The official JavaScript SDK against a running gateway: every promise of the protocol that an app relies on.
// Prints one JSON object per step; the Rust test acts on some of them. Exits with 1 and a reason at the first
// difference.
import WebSocket from 'ws';

const { GATEWAY, API, API_KEY, FORMAT, TOKENS } = process.env;
const { Centrifuge } = await import(FORMAT === 'protobuf' ? 'centrifuge/build/protobuf' : 'centrifuge');
const tokens = JSON.parse(TOKENS);
const say = (step, detail = {}) => console.log(JSON.stringify({ step, ...detail }));
const fail = (why) => { console.log(JSON.stringify({ step: 'failed', why })); process.exit(1); };
const same = (what, got, wanted) => {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (a !== b) fail(`${what}: got ${a}, wanted ${b}`);
};
setTimeout(() => fail('not done within 60 s'), 60_000).unref();
process.on('unhandledRejection', (error) => fail(`rejected: ${error?.stack ?? JSON.stringify(error)}`));

const encode = (value) => (FORMAT === 'protobuf' ? new TextEncoder().encode(JSON.stringify(value)) : value);
const decode = (value) => (FORMAT === 'protobuf' ? JSON.parse(new TextDecoder().decode(value)) : value);
const api = async (method, body) => {
  const response = await fetch(`${API}/api/${method}`, {
    method: 'POST', headers: { 'X-API-Key': API_KEY }, body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (answer.error) fail(`${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
};

/** Waits for `check` to hold at an event of `source`; the last state is in the failure. */
const until = (what, source, event, check = () => true) => new Promise((resolve) => {
  const listener = (context) => {
    if (check(context)) { clearTimeout(timer); source.removeListener(event, listener); resolve(context); }
  };
  const timer = setTimeout(() => fail(`${what}: no such ${event} within 20 s`), 20_000);
  source.on(event, listener);
});

let sockets = [];
class Recorded extends WebSocket {
  constructor(...args) { super(...args); sockets.push(this); }
}

// The first token has expired: the SDK learns it by error 109 and fetches the next, which lives two seconds, so
// that a refresh in place follows.
let fetched = 0;
const client = new Centrifuge(GATEWAY, {
  websocket: Recorded, token: tokens.expired, minReconnectDelay: 50, maxReconnectDelay: 300,
  getToken: async () => [tokens.short, tokens.long][Math.min(fetched++, 1)],
});
const connected = until('connect', client, 'connected');
client.connect();
await connected;
same('tokens fetched', fetched, 1);
const opened = sockets.length;
say('connected');

const heard = [];
const sub = client.newSubscription('site:acme.s1', { recoverable: true, joinLeave: true });
sub.on('publication', (context) => heard.push(decode(context.data)));
sub.subscribe();
await sub.ready(10_000);
const history0 = await sub.history({ limit: 0 });
await api('publish', { channel: 'site:acme.s1', data: { n: 1 } });
await until('publication', sub, 'publication', () => heard.length >= 1);
same('heard', heard, [{ n: 1 }]);
say('publication');

same('rpc', decode((await client.rpc('echo', encode({ ping: 'pong' }))).data), { ping: 'pong' });
same('whoami', decode((await client.rpc('whoami', encode({}))).data), { user: 'per_1' });
const refused = await client.rpc('fail', encode({})).catch((error) => error);
same('application error', [refused.code, refused.message], [1000, 'as asked']);
say('rpc');

const presence = await sub.presence();
same('presence', Object.values(presence.clients).map((info) => info.user), ['per_1']);
same('presence stats', await sub.presenceStats(), { numUsers: 1, numClients: 1 });
await api('publish', { channel: 'site:acme.s1', data: { n: 2 } });
const page = await sub.history({ limit: 1, since: { epoch: history0.epoch, offset: history0.offset } });
same('history page', page.publications.map((it) => decode(it.data)), [{ n: 1 }]);
const reversed = await sub.history({ limit: 1, reverse: true });
same('history reversed', reversed.publications.map((it) => decode(it.data)), [{ n: 2 }]);
const denied = await client.publish('site:acme.s1', encode({})).catch((error) => error);
same('publish without the right', denied.code, 103);
say('history');

// The token of two seconds ends; the SDK refreshes in place and nothing is interrupted.
const deadline = Date.now() + 15_000;
while (fetched < 2) {
  if (Date.now() > deadline) fail('the SDK never refreshed');
  await new Promise((resolve) => setTimeout(resolve, 50));
}
same('still the same socket', sockets.length, opened);
same('rpc after refresh', decode((await client.rpc('echo', encode(1))).data), 1);
say('refreshed');

// A cut: publications made meanwhile come back in order, once.
const resubscribed = until('resubscribe', sub, 'subscribed');
sockets.at(-1).terminate();
for (const n of [3, 4, 5]) await api('publish', { channel: 'site:acme.s1', data: { n } });
const after = await resubscribed;
same('recovered', [after.wasRecovering, after.recovered], [true, true]);
await new Promise((resolve) => setTimeout(resolve, 0));
if (heard.length < 5) await until('the missed ones', sub, 'publication', () => heard.length >= 5);
same('all, in order, once', heard.map((it) => it.n), [1, 2, 3, 4, 5]);
say('recovered');

// A shutdown: 3001, and the SDK comes back to the next process.
const away = until('shutdown', client, 'connecting', (context) => context.code === 3001);
const back = until('reconnect', client, 'connected');
const again = until('resubscribe', sub, 'subscribed');
say('restart');
same('shutdown reason', (await away).reason, 'shutdown');
await back;
same('recovered over a restart', (await again).recovered, true);
await api('publish', { channel: 'site:acme.s1', data: { n: 6 } });
if (heard.length < 6) await until('life after', sub, 'publication', () => heard.length >= 6);
same('all, after a restart', heard.map((it) => it.n), [1, 2, 3, 4, 5, 6]);
client.disconnect();
say('done');
process.exit(0);
