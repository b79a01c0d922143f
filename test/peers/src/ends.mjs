// Connections in every state a connection may be in when its way breaks: one that reads, one that waits, one that is being
// dialled, one of datagrams. Says `ready` when they are, what became of each, and of whoever comes later.
// Arguments: HOST NOBODY
import dgram from 'node:dgram';
import net from 'node:net';

const [host, nobody] = process.argv.slice(2);
const ECHO = 7001;
const SOURCE = 7005;

const ending = (name, socket) =>
  new Promise((resolve) => {
    let fault = 'closed';
    socket.on('error', (error) => {
      fault = error.code;
    });
    socket.on('close', () => resolve(`${name} ${fault}`));
  });

const reading = net.connect(SOURCE, host);
const waiting = net.connect(ECHO, host);
const dialled = net.connect(ECHO, nobody);
const ends = [ending('reading', reading), ending('waiting', waiting), ending('dialled', dialled)];
const datagrams = dgram.createSocket('udp4');
const refused = new Promise((resolve) => datagrams.once('error', (error) => resolve(`datagrams ${error.code}`)));
await Promise.all([
  new Promise((resolve) => reading.once('data', resolve)),
  new Promise((resolve) => waiting.once('connect', resolve)),
  new Promise((resolve) => datagrams.connect(ECHO, host, resolve)),
]);
datagrams.send('one');
await new Promise((resolve) => datagrams.once('message', resolve));
reading.resume();
console.log('ready');
for (const end of ends) console.log(await end);
const again = setInterval(() => datagrams.send('two'), 10);
console.log(await refused);
clearInterval(again);
datagrams.close();
console.log(await ending('later', net.connect(ECHO, host)));
const own = net.createServer((socket) => socket.end());
await new Promise((resolve) => own.listen(0, '127.0.0.1', resolve));
console.log(await ending('own', net.connect(own.address().port, '127.0.0.1').resume()));
own.close();
