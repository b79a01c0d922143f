// The NATS client: publish and subscribe, 1,000 requests at once, a payload near the server's limit. Argument: URL
import { connect } from '@nats-io/transport-node';

const connection = await connect({ servers: process.argv[2], reconnect: false });
const subscription = connection.subscribe('price.*', { max: 500 });
const seen = (async () => {
  let sum = 0;
  for await (const message of subscription) sum += Number(message.string());
  return sum;
})();
for (let price = 1; price <= 500; price += 1) connection.publish('price.tea', String(price));
console.log('sum', await seen);

connection.subscribe('echo', { callback: (_error, message) => message.respond(message.data) });
const answers = await Promise.all(
  Array.from({ length: 1_000 }, (_, number) => connection.request('echo', String(number), { timeout: 60_000 })),
);
console.log('answers', answers.filter((message, number) => message.string() === String(number)).length);

const large = Buffer.alloc(900_000, 'large');
const { data } = await connection.request('echo', large, { timeout: 60_000 });
console.log('large', large.equals(data));
await connection.drain();
