// The local program of the demo. It knows nothing of mirrord: it reads its environment and some files, as programs do.
import { readFileSync } from 'node:fs';

function read(path) {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    return `(${error.code})`;
  }
}

const { SHOP_NAME = '(not set)', SHOP_CURRENCY = '', DATABASE_URL = '(not set)' } = process.env;
console.log(`  SHOP_NAME              ${SHOP_NAME}`);
console.log(`  DATABASE_URL           ${DATABASE_URL}`);
console.log(`  /etc/hostname          ${read('/etc/hostname')}`);
console.log(`  /etc/resolv.conf       ${read('/etc/resolv.conf').split('\n')[0]}`);
const prices = read('/srv/shop/prices.json');
const list = prices.startsWith('{')
  ? Object.entries(JSON.parse(prices)).map((row) => `${row.join(' ')} ${SHOP_CURRENCY}`)
  : [prices];
console.log(`  /srv/shop/prices.json  ${list.join(', ')}`);
