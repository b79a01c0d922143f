// A gRPC service of every kind of call, and a client of it (@grpc/grpc-js). Arguments: serve HOST:PORT or ask HOST:PORT
import { once } from 'node:events';
import grpc from '@grpc/grpc-js';

const asIs = { requestSerialize: (bytes) => bytes, responseSerialize: (bytes) => bytes };
const back = { requestDeserialize: (bytes) => bytes, responseDeserialize: (bytes) => bytes };
const call = (name, requestStream, responseStream) => ({
  path: `/shop.Calls/${name}`,
  requestStream,
  responseStream,
  ...asIs,
  ...back,
});
const definition = {
  echo: call('Echo', false, false),
  count: call('Count', false, true),
  sum: call('Sum', true, false),
  talk: call('Talk', true, true),
  refuse: call('Refuse', false, false),
  wait: call('Wait', false, false),
};

function serve(address) {
  const server = new grpc.Server();
  server.addService(definition, {
    echo: ({ request, metadata }, done) => {
      const trailer = new grpc.Metadata();
      trailer.set('peer', metadata.get('name')[0]);
      done(null, request, trailer);
    },
    count: (stream) => {
      for (let number = 1; number <= Number(stream.request); number += 1) stream.write(Buffer.from(String(number)));
      stream.end();
    },
    sum: (stream, done) => {
      let bytes = 0;
      stream.on('data', (data) => {
        bytes += data.length;
      });
      stream.on('end', () => done(null, Buffer.from(`${bytes} from ${stream.getPeer().replace(/:\d+$/, '')}`)));
    },
    talk: (stream) => {
      stream.on('data', (data) => stream.write(data));
      stream.on('end', () => stream.end());
    },
    refuse: (_call, done) => done({ code: grpc.status.RESOURCE_EXHAUSTED, details: 'no tea' }),
    wait: (waiting) => {
      waiting.on('cancelled', () => console.log('cancelled'));
      waiting.sendMetadata(new grpc.Metadata());
    },
  });
  server.bindAsync(address, grpc.ServerCredentials.createInsecure(), () => console.log('ready'));
}

async function ask(address) {
  const Client = grpc.makeGenericClientConstructor(definition, 'shop.Calls');
  const client = new Client(address, grpc.credentials.createInsecure());
  const unary = (name, request, metadata = new grpc.Metadata(), options = {}) =>
    new Promise((resolve) => {
      let trailer;
      client[name](request, metadata, options, (error, answer) => resolve({ error, answer, trailer })).on(
        'status',
        (status) => {
          trailer = status.metadata;
        },
      );
    });

  const metadata = new grpc.Metadata();
  metadata.set('name', 'tea');
  const large = Buffer.alloc(3_000_000, 'tea ');
  const many = await Promise.all(
    Array.from({ length: 100 }, (_, number) => unary('echo', Buffer.from(String(number)))),
  );
  console.log('unary', many.filter(({ answer }, number) => String(answer) === String(number)).length);
  const echoed = await unary('echo', large, metadata);
  console.log('large', large.equals(echoed.answer));

  let last = '';
  let counted = 0;
  for await (const number of client.count(Buffer.from('5000'))) {
    last = String(number);
    counted += 1;
  }
  console.log('server stream', counted, last);

  const summed = new Promise((resolve) => {
    const stream = client.sum((_error, answer) => resolve(String(answer)));
    for (let piece = 0; piece < 100; piece += 1) stream.write(large.subarray(0, 10_000));
    stream.end();
  });
  console.log('client stream', await summed);

  const talk = client.talk();
  for (let number = 0; number < 200; number += 1) {
    talk.write(Buffer.from(`word ${number}`));
    const [answer] = await once(talk, 'data');
    if (String(answer) !== `word ${number}`) throw new Error(`heard ${answer}`);
  }
  talk.end();
  talk.resume();
  await once(talk, 'end');
  console.log('both ways 200');

  const refused = await unary('refuse', Buffer.alloc(0));
  console.log('status', refused.error.code, refused.error.details);
  const late = await unary('wait', Buffer.alloc(0), new grpc.Metadata(), { deadline: Date.now() + 300 });
  console.log('status', late.error.code);
  const cancelled = await new Promise((resolve) => {
    const waiting = client.wait(Buffer.alloc(0), resolve).on('metadata', () => waiting.cancel());
  });
  console.log('status', cancelled.code);
  client.close();
}

const [role, address] = process.argv.slice(2);
if (role === 'serve') serve(address);
else await ask(address);
