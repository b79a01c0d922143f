// Node's fetch (undici), http, and http2. Arguments: URL SECURE-URL FILE CERTIFICATE
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import { buffer } from 'node:stream/consumers';

const [url, secureUrl, file, certificate] = process.argv.slice(2);
const body = readFileSync(file);
const asks = [
  ['GET', '/hello'],
  ['POST', '/post'],
  ['GET', '/large'],
];
const show = (path, content) =>
  process.stdout.write(
    path === '/large' ? `${createHash('sha256').update(content).digest('hex')}\n` : content.toString(),
  );

for (const [method, path] of asks) {
  const response = await fetch(`${url}${path}`, method === 'POST' ? { method, body } : { method });
  show(path, Buffer.from(await response.arrayBuffer()));
}
for (const [method, path] of asks) {
  const response = await new Promise((resolve, reject) => {
    const request = https.request(`${secureUrl}${path}`, { method, ca: readFileSync(certificate) }, resolve);
    request.on('error', reject);
    request.end(method === 'POST' ? body : undefined);
  });
  show(path, await buffer(response));
}
const session = http2.connect(secureUrl, { ca: readFileSync(certificate) });
const streams = asks.map(([method, path]) => {
  const stream = session.request({ ':method': method, ':path': path }, { endStream: method === 'GET' });
  if (method === 'POST') stream.end(body);
  return buffer(stream);
});
for (const [index, content] of (await Promise.all(streams)).entries()) show(asks[index][1], content);
session.close();
