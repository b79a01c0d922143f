// Serves repositories over git's smart HTTP by `git http-backend` (gitprotocol-http(5)). Arguments: HOST PORT FOLDER
import { spawn } from 'node:child_process';
import http from 'node:http';

const [host, port, folder] = process.argv.slice(2);

http
  .createServer((request, response) => {
    const { pathname, search } = new URL(request.url, 'http://here');
    const backend = spawn('git', ['http-backend'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        PATH: process.env.PATH,
        GIT_PROJECT_ROOT: folder,
        GIT_HTTP_EXPORT_ALL: '1',
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
        GIT_PROTOCOL: request.headers['git-protocol'] ?? '',
        PATH_INFO: pathname,
        QUERY_STRING: search.slice(1),
        REQUEST_METHOD: request.method,
        REMOTE_USER: 'shop',
        REMOTE_ADDR: request.socket.remoteAddress,
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        ...(request.headers['content-length'] ? { CONTENT_LENGTH: request.headers['content-length'] } : {}),
      },
    });
    request.pipe(backend.stdin);
    backend.stdin.on('error', () => {});
    const chunks = [];
    backend.stdout.on('data', (chunk) => chunks.push(chunk));
    backend.on('close', () => {
      const whole = Buffer.concat(chunks);
      const end = whole.indexOf('\r\n\r\n');
      const fields = whole
        .subarray(0, end)
        .toString('latin1')
        .split('\r\n')
        .map((line) => line.split(/:\s*/, 2));
      const status = fields.find(([name]) => name === 'Status')?.[1] ?? '200';
      response.writeHead(Number.parseInt(status, 10), fields.filter(([name]) => name !== 'Status').flat());
      response.end(whole.subarray(end + 4));
      console.log(`${request.method} ${pathname} from ${request.socket.remoteAddress}`);
    });
  })
  .listen(Number(port), host, () => console.log('ready'));
