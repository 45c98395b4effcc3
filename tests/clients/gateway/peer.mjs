// The peer of the benches: what a team writes in an afternoon with `ws` and `ioredis`. No protocol, no positions,
// no bounds; one JSON text per message. PORT and REDIS come from the environment.
import { WebSocketServer } from 'ws';
import Redis from 'ioredis';

// Without the check it would send INFO on a connection that is subscribing already, fail, and lose messages.
const down = new Redis(process.env.REDIS, { enableReadyCheck: false });
const up = new Redis(process.env.REDIS);
const channels = new Map();

down.on('message', (channel, message) => {
  for (const socket of channels.get(channel) ?? []) socket.send(message);
});

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.env.PORT), perMessageDeflate: false });
server.on('connection', (socket) => {
  const mine = [];
  socket.on('message', async (bytes) => {
    const text = bytes.toString();
    const message = JSON.parse(text);
    if (message.sub) {
      mine.push(message.sub);
      if (!channels.has(message.sub)) {
        channels.set(message.sub, new Set());
        await down.subscribe(message.sub);
      }
      channels.get(message.sub).add(socket);
      socket.send('{"ok":1}');
    } else {
      up.publish('up', text);
    }
  });
  socket.on('close', () => {
    for (const name of mine) channels.get(name)?.delete(socket);
  });
});
