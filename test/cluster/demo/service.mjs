// A demo service in Node: `GET /` tells who answers and how it was asked, `/sum?a=1&b=2` adds.
import { createServer } from 'node:http';
import { hostname } from 'node:os';

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://demo');
  const sum = Number(url.searchParams.get('a')) + Number(url.searchParams.get('b'));
  const body =
    url.pathname === '/sum' ? { sum } : { service: process.env.SERVICE, host: hostname(), path: url.pathname };
  response.setHeader('content-type', 'application/json');
  response.end(`${JSON.stringify(body)}\n`);
});
server.listen(8080);
process.on('SIGTERM', () => process.exit(0));
