// A web server for the peers: HTTP/1.1 on PORT, HTTP/2 in the clear on PORT + 1, and both over TLS on PORT + 2. Says of each
// request what came and from where, and has something large. Arguments: HOST PORT KEY CERTIFICATE LARGE
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';

const [host, first, keyFile, certFile, largeFile] = process.argv.slice(2);
const large = readFileSync(largeFile);

function answer(request, response) {
  const hash = createHash('sha256');
  let bytes = 0;
  request.on('data', (data) => {
    bytes += data.length;
    hash.update(data);
  });
  request.on('end', () => {
    if (request.url === '/large') {
      response.end(large);
      return;
    }
    const body = bytes === 0 ? 'nothing' : `${bytes} ${hash.digest('hex')}`;
    const version = `HTTP/${request.httpVersion}`;
    response.end(`${request.method} ${request.url} ${version} from ${request.socket.remoteAddress}: ${body}\n`);
  });
}

const servers = [
  http.createServer(answer),
  http2.createServer(answer),
  http2.createSecureServer({ key: readFileSync(keyFile), cert: readFileSync(certFile), allowHTTP1: true }, answer),
];
for (const [index, server] of servers.entries()) {
  await new Promise((resolve) => server.listen(Number(first) + index, host, resolve));
}
console.log('ready');
