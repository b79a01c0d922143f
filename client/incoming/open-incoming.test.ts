import { expect, test } from 'vitest';
import { loadText } from '../testing/load-text.ts';
import { checkIncomingTls } from './open-incoming.ts';

const check = async (incoming: object) =>
  await checkIncomingTls((await loadText(JSON.stringify({ feature: { network: { incoming } } }))).config, '/nowhere');

test.each(['tls_delivery', 'https_delivery'])(
  'files that %s names are looked for before anything is started',
  async (key) => {
    const delivery = { [key]: { trust_roots: ['missing.pem'] } };
    await expect(check({ mode: 'steal', ...delivery })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('missing.pem'),
    });
    await expect(check({ mode: 'mirror', ...delivery })).resolves.toBeUndefined();
  },
);
