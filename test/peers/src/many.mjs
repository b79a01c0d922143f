// As many connections at a time as are asked for: when all are open, each sends what no other sends, and must get it back.
// Arguments: HOST CONNECTIONS
import net from 'node:net';

const [host, count] = [process.argv[2], Number(process.argv[3])];
const ECHO = 7001;
const WORDS = 8_000;

/** Numbers that follow from each other, and begin with the connection's (xorshift). */
function contentOf(number) {
  const words = new Uint32Array(WORDS);
  let word = number + 1;
  for (let at = 0; at < WORDS; at += 1) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    words[at] = word;
  }
  return Buffer.from(words.buffer);
}

const sockets = await Promise.all(
  Array.from(
    { length: count },
    () =>
      new Promise((resolve, reject) => {
        const socket = net.connect({ port: ECHO, host }, () => resolve(socket));
        socket.on('error', reject);
      }),
  ),
);
console.log('open', sockets.filter(({ readyState }) => readyState === 'open').length);
const results = await Promise.all(
  sockets.map(
    (socket, number) =>
      new Promise((resolve) => {
        const pieces = [];
        socket.on('data', (data) => pieces.push(data));
        socket.on('close', () => resolve(Buffer.concat(pieces).equals(contentOf(number))));
        socket.end(contentOf(number));
      }),
  ),
);
console.log('exact', results.filter(Boolean).length);
