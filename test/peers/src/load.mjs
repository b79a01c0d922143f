// One reader that stops for a minute, one connection that goes on all the time, and connections that come and go beside
// both. Says `warm` before and `churned` after those, each time waits for a line, and tells at the end what came of all
// three. Arguments: HOST CONNECTIONS RATE (a second) STOP-SECONDS
import net from 'node:net';
import { createInterface } from 'node:readline';

const [host, connections, rate, stopSeconds] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const ECHO = 7001;
const SOURCE = 7005;
const SOURCE_BYTE = 0x5a;
const WARM_UP = 200;
const FLOW_BYTES = 16 * 1024;
const FLOW_MS = 10;
const LATE_BYTES = 32 * 1024 * 1024;
const TICK_MS = 5;

const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();
const say = async (word) => {
  console.log(word);
  await lines.next();
};

/** Resolves with what is wrong, or nothing. */
function once(number) {
  return new Promise((resolve) => {
    const sent = `connection ${number} of a churn`;
    let heard = '';
    let fault = '';
    const socket = net.connect({ port: ECHO, host }, () => socket.end(sent));
    socket.setEncoding('latin1').on('data', (text) => {
      heard += text;
    });
    socket.on('error', (error) => {
      fault = error.code;
    });
    socket.on('close', () => resolve(fault || (heard === sent ? '' : `heard "${heard}"`)));
  });
}

async function churn(count, perSecond) {
  const startMs = performance.now();
  const under = [];
  while (under.length < count) {
    const due = Math.min(count, Math.ceil(((performance.now() - startMs) / 1000) * perSecond));
    while (under.length < due) under.push(once(under.length));
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  const faults = (await Promise.all(under)).filter(Boolean);
  return { seconds: (performance.now() - startMs) / 1000, faults };
}

/** Reads a little, stops, and reads on: all that comes must be what is sent. */
function stopAndGoOn() {
  return new Promise((resolve) => {
    const socket = net.connect({ port: SOURCE, host });
    let bytes = 0;
    let wrong = 0;
    let stoppedAt = -1;
    let fault = '';
    socket.on('data', (data) => {
      bytes += data.length;
      for (const byte of data) if (byte !== SOURCE_BYTE) wrong += 1;
      if (stoppedAt < 0 && bytes > 0) {
        stoppedAt = bytes;
        socket.pause();
        setTimeout(() => socket.resume(), stopSeconds * 1000);
      } else if (bytes - stoppedAt > LATE_BYTES) socket.destroy();
    });
    socket.on('error', (error) => {
      fault = error.code;
    });
    socket.on('close', () => resolve(fault || (wrong > 0 ? `${wrong} wrong bytes` : 'went on')));
  });
}

/** Back and forth until told to end. */
function flow() {
  const state = { rounds: 0, worstMs: 0, fault: '', end: () => {} };
  const piece = Buffer.from(Array.from({ length: FLOW_BYTES }, (_, at) => at & 255));
  const socket = net.connect({ port: ECHO, host });
  const ended = new Promise((resolve) => socket.on('close', resolve));
  let isWanted = true;
  let held = [];
  let sentMs = 0;
  const send = () => {
    if (!isWanted) return socket.end();
    held = [];
    sentMs = performance.now();
    return socket.write(piece);
  };
  socket.on('connect', send);
  socket.on('error', (error) => {
    state.fault = error.code;
  });
  socket.on('data', (data) => {
    held.push(data);
    if (held.reduce((sum, { length }) => sum + length, 0) < piece.length) return;
    if (!Buffer.concat(held).equals(piece)) state.fault ||= 'wrong bytes';
    state.rounds += 1;
    state.worstMs = Math.max(state.worstMs, performance.now() - sentMs);
    setTimeout(send, FLOW_MS);
  });
  state.end = () => {
    isWanted = false;
    return ended;
  };
  return state;
}

const stopped = stopAndGoOn();
const flowing = flow();
await churn(WARM_UP, rate);
await say('warm');
const before = flowing.rounds;
const { seconds, faults } = await churn(connections, rate);
const roundsBeside = flowing.rounds - before;
await say('churned');
const late = await stopped;
await flowing.end();
await say(
  JSON.stringify({
    faults: faults.slice(0, 3),
    seconds,
    late,
    roundsBeside,
    worstMs: flowing.worstMs,
    flow: flowing.fault,
  }),
);
input.close();
