// Node's two resolvers, dns.lookup (libc) and dns.resolve (c-ares): `NAME: ADDRESS...` of each name in order of their text;
// then the records of names that are given as TYPE=NAME.
import dns from 'node:dns/promises';

const [manner, ...words] = process.argv.slice(2);
const none = (error) => {
  if (error.code === 'ENOTFOUND' || error.code === 'ENODATA') return [];
  throw error;
};
const ways = {
  lookup: async (name) => (await dns.lookup(name, { all: true })).map(({ address }) => address),
  resolve: async (name) => [...(await dns.resolve4(name).catch(none)), ...(await dns.resolve6(name).catch(none))],
  SRV: async (name) => (await dns.resolveSrv(name)).map(({ port, name: target }) => `${port} ${target}`),
  TXT: async (name) => (await dns.resolveTxt(name)).map((pieces) => String(pieces.join('').length)),
  CNAME: (name) => dns.resolveCname(name),
  PTR: (name) => dns.reverse(name),
};

for (const word of words) {
  const [kind, name] = word.includes('=') ? word.split('=') : [manner, word];
  const found = await ways[kind](name).catch(none);
  console.log(`${word}: ${found.length === 0 ? 'none' : found.sort().join(' ')}`);
}
