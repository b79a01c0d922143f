// A client that asks two ports in turns, one request at a time and far fewer than either could answer: what differs between
// the two is what is measured, not what the machine does meanwhile. Prints the pairs in microseconds, as JSON.
//
// node bench/paired-client.mjs HOST PORT OTHER_PORT PAIRS PAIRS_PER_SECOND new|kept

import { once } from 'node:events';
import net from 'node:net';

const [host, port, otherPort, pairs, perSecond, kind] = process.argv.slice(2);
const isKept = kind === 'kept';
const REQUEST = `GET / HTTP/1.1\r\nHost: shop\r\nX-User: bob\r\n${isKept ? '' : 'Connection: close\r\n'}\r\n`;
/** Pairs at the beginning that do not count. */
const WARM_PAIRS = 50;
const kept = new Map();

async function connected(to) {
  const socket = net.connect({ host, port: Number(to), noDelay: true });
  await once(socket, 'connect');
  return socket;
}

/** Resolves when the whole answer, which has a length, has come. */
function answered(socket) {
  return new Promise((resolve, reject) => {
    let text = '';
    const onData = (bytes) => {
      text += bytes.toString('latin1');
      const end = text.indexOf('\r\n\r\n') + 4;
      if (end < 4 || text.length - end < Number(/content-length: (\d+)/i.exec(text)?.[1])) return;
      socket.off('data', onData).off('error', reject);
      if (text.startsWith('HTTP/1.1 200 ')) resolve();
      else reject(new Error(text));
    };
    socket.on('data', onData).on('error', reject);
  });
}

async function ask(to) {
  const startNs = process.hrtime.bigint();
  const socket = kept.get(to) ?? (await connected(to));
  const answer = answered(socket);
  socket.write(REQUEST);
  await answer;
  const micros = Number(process.hrtime.bigint() - startNs) / 1_000;
  if (isKept) kept.set(to, socket);
  else socket.destroy();
  return micros;
}

const measured = [];
for (let pair = -WARM_PAIRS; pair < Number(pairs); pair++) {
  const dueMs = performance.now() + 1_000 / Number(perSecond);
  // Who comes first has no advantage.
  const isTurned = pair % 2 !== 0;
  const first = await ask(isTurned ? otherPort : port);
  const second = await ask(isTurned ? port : otherPort);
  if (pair >= 0) measured.push(isTurned ? [second, first] : [first, second]);
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - performance.now())));
}
for (const socket of kept.values()) socket.destroy();
console.log(JSON.stringify(measured));
