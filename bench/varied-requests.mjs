// Requests of HTTP/2 none of which is as another one: what people send, where h2load says the same head over and over. Each has an
// id, a cookie and a path, or metadata of gRPC, of its own; node's client keeps the first in the header table.
//
// node bench/varied-requests.mjs web|grpc SECONDS CONNECTIONS STREAMS URL; prints what h2load would say.

import { connect } from 'node:http2';

const [kind = 'web', seconds = '3', connections = '1', streams = '1', target = ''] = process.argv.slice(2);
const url = new URL(target);
const endMs = performance.now() + Number(seconds) * 1_000;
const MESSAGE = Buffer.from([0, 0, 0, 0, 5, ...Buffer.from('hello')]);
const micros = [];
let nth = 0;

function headers() {
  const id = `${(nth++).toString(36)}-${process.pid.toString(36)}`;
  if (kind !== 'grpc') {
    return { ':path': `${url.pathname}?order=${id}`, 'x-request-id': id, cookie: `session=${id}`, 'x-user': 'bob' };
  }
  const words = { 'content-type': 'application/grpc', te: 'trailers', 'x-user': 'bob' };
  return { ':method': 'POST', ':path': url.pathname, 'x-request-id': id, traceparent: `00-${id}-01`, ...words };
}

async function ask(client) {
  const startMs = performance.now();
  const stream = client.request(headers(), { endStream: kind !== 'grpc' });
  if (kind === 'grpc') stream.end(MESSAGE);
  stream.resume();
  await new Promise((resolve, reject) => {
    stream.on('response', (head) => head[':status'] !== 200 && reject(new Error(`status ${head[':status']}`)));
    stream.on('end', resolve).on('error', reject);
  });
  micros.push((performance.now() - startMs) * 1_000);
}

async function load() {
  const client = connect(url.origin);
  const one = async () => {
    while (performance.now() < endMs) await ask(client);
  };
  await Promise.all(Array.from({ length: Number(streams) }, one));
  client.close();
}

await Promise.all(Array.from({ length: Number(connections) }, load));
const [mean, most] = [micros.reduce((sum, one) => sum + one, 0) / micros.length, Math.max(0, ...micros.slice(-10_000))];
console.log(
  `${micros.length} succeeded, 0 failed, 0 errored\ntime for request: 0us ${most.toFixed(0)}us ${mean.toFixed(0)}us`,
);
