// The service that a developer works on, on this machine. It tells what it gets, and knows nothing of mirrord either.
import { createServer } from 'node:http';

createServer((request, response) => {
  console.log(`  here: ${request.method} ${request.url} from ${request.socket.remoteAddress}`);
  response.end('{ "tea": 0.99, "by": "the developer" }\n');
}).listen(80);
