// Names, as every resolver finds them: those of the target, by its name server, its hosts file, its search list and its
// ndots; and as they are told of, from NXDOMAIN to silence.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { BEYOND, BEYOND_V6 } from '../fixtures/network.ts';
import { buildGo, buildJava, buildMusl } from './build.ts';
import { DOMAIN, Stage, source } from './stage.ts';

const TOOLS = ['getent', 'dig', 'java', 'javac', 'go', 'musl-gcc', 'python3'];
const machine = [can.root, can.nats, canRun(...TOOLS)].find(({ yes }) => !yes) ?? can.root;
const TEXT_BYTES = 2_000;
const LONG_V6 = 'fd99:0:0:0:0:0:0:2';
const INNER = '10.99.0.3';
const POINTER = '3.0.99.10.in-addr.arpa';

/** What getaddrinfo of each runtime must find. */
const FOUND: Readonly<Record<string, string>> = {
  [`web.${DOMAIN}`]: BEYOND,
  [`both.${DOMAIN}`]: `${BEYOND} ${BEYOND_V6}`,
  [`six.${DOMAIN}`]: BEYOND_V6,
  // Two links, and then an address.
  [`alias.${DOMAIN}`]: BEYOND,
  [`hollow.${DOMAIN}`]: 'none',
  [`nobody.${DOMAIN}`]: 'none',
  // By the search list; the second has a dot and comes first by ndots.
  web: BEYOND,
  'inner.web': INNER,
  nobody: 'none',
  'by-file': BEYOND,
};
/** The same without what resolvers that take whole names only do not do. */
const WHOLE_NAMES = Object.fromEntries(Object.entries(FOUND).filter(([name]) => name.endsWith(DOMAIN)));
const RECORDS: Readonly<Record<string, string>> = {
  [`SRV=_http._tcp.web.${DOMAIN}`]: `8080 web.${DOMAIN}`,
  [`TXT=large.${DOMAIN}`]: String(TEXT_BYTES),
  [`PTR=${INNER}`]: `inner.web.${DOMAIN}`,
};

const print = (found: Readonly<Record<string, string>>) =>
  Object.entries(found)
    .map(([word, value]) => `${word}: ${value}\n`)
    .join('');

describe.skipIf(!machine.yes)(`names of the target ${machine.why}`, () => {
  let stage: Stage;

  beforeAll(async () => {
    // Compiled here, where there is time for it.
    buildGo('resolve.go');
    buildJava('Resolve.java');
    stage = await Stage.start({
      records: [
        `both.${DOMAIN}/A=${BEYOND}`,
        `both.${DOMAIN}/AAAA=${LONG_V6}`,
        `six.${DOMAIN}/AAAA=${LONG_V6}`,
        `alias.${DOMAIN}/CNAME=second.${DOMAIN}`,
        `second.${DOMAIN}/CNAME=web.${DOMAIN}`,
        `inner.web.${DOMAIN}/A=${INNER}`,
        `hollow.${DOMAIN}/TXT=nothing else`,
        `_http._tcp.web.${DOMAIN}/SRV=8080 web.${DOMAIN}`,
        `large.${DOMAIN}/TXT=${'x'.repeat(TEXT_BYTES)}`,
        `${POINTER}/PTR=inner.web.${DOMAIN}`,
      ],
    });
  });

  afterAll(() => stage?.close());

  const asked = (question: string) => stage.names.lines.filter((line) => line === `asked ${question}`).length;
  const prints = async (command: readonly string[], stdout: string) => {
    const outcome = await stage.exec(command);
    expect({ code: outcome.code, stdout: outcome.stdout }, outcome.stderr).toEqual({ code: 0, stdout });
  };

  describe('are found', () => {
    const questions = Object.keys(FOUND);

    afterAll(() => {
      // Search list first, and then no further.
      expect(asked(`inner.web.${DOMAIN} A udp`)).toBeGreaterThan(0);
      expect(asked('inner.web A udp')).toBe(0);
      // The search list has no such name: the name as it is.
      expect(asked('nobody A udp')).toBeGreaterThan(0);
      expect(asked(`by-file.${DOMAIN} A udp`) + asked('by-file A udp')).toBe(0);
    });

    test('by getaddrinfo of glibc, from Python', () =>
      prints(['python3', stage.here(source('resolve.py')), ...questions], print(FOUND)));

    test('by getaddrinfo of glibc, from Node', () =>
      prints([process.execPath, stage.here(source('resolve.mjs')), 'lookup', ...questions], print(FOUND)));

    test('by getaddrinfo of musl', () => prints([stage.here(buildMusl('resolve.c')), ...questions], print(FOUND)));

    test('by Java', () => {
      const words = [
        '-Xshare:auto',
        '-XX:TieredStopAtLevel=1',
        '-cp',
        stage.here(buildJava('Resolve.java')),
        'Resolve',
      ];
      return prints(['java', ...words, ...questions], print(FOUND));
    });

    test("by Go's own resolver, with SRV, TXT, PTR and CNAME", () => {
      const dotted = Object.fromEntries(
        Object.entries(RECORDS).map(([word, value]) => [word, value.replace(/test$/, 'test.')]),
      );
      const all = { ...FOUND, ...dotted, [`CNAME=alias.${DOMAIN}`]: `web.${DOMAIN}.` };
      return prints([stage.here(buildGo('resolve.go')), ...Object.keys(all)], print(all));
    });

    test('by c-ares, with SRV, TXT, PTR and CNAME', () => {
      const all = { ...WHOLE_NAMES, ...RECORDS, [`CNAME=alias.${DOMAIN}`]: `second.${DOMAIN}` };
      return prints([process.execPath, stage.here(source('resolve.mjs')), 'resolve', ...Object.keys(all)], print(all));
    });

    test('by getent, which says what it asked', async () => {
      const outcome = await stage.shell(
        'getent hosts web by-file; getent hosts "$1"; getent hosts nobody || echo "none $?"',
        BEYOND,
      );
      expect(outcome.stdout.replaceAll(/ +/g, ' '), outcome.stderr).toBe(
        `${BEYOND} web.${DOMAIN}\n${BEYOND} by-file\n${BEYOND} by-file\nnone 2\n`,
      );
    });
  });

  describe('are answered to dig', () => {
    const dig = async (...words: string[]) => {
      const outcome = await stage.exec(['dig', '+nocookie', ...words]);
      return { code: outcome.code, said: outcome.stdout.replaceAll(/[ \t]+/g, ' '), stderr: outcome.stderr };
    };

    test('with each link of a chain, and the records asked for', async () => {
      const { said } = await dig(
        '+noall',
        '+answer',
        `alias.${DOMAIN}`,
        'A',
        `_http._tcp.web.${DOMAIN}`,
        'SRV',
        '-x',
        INNER,
      );
      expect(said.replaceAll(/ \d+ IN /g, ' IN ')).toBe(
        `alias.${DOMAIN}. IN CNAME second.${DOMAIN}.\nsecond.${DOMAIN}. IN CNAME web.${DOMAIN}.\nweb.${DOMAIN}. IN A ${BEYOND}\n` +
          `_http._tcp.web.${DOMAIN}. IN SRV 0 0 8080 web.${DOMAIN}.\n${POINTER}. IN PTR inner.web.${DOMAIN}.\n`,
      );
    });

    test('truncated over UDP, and whole over TCP', async () => {
      const before = asked(`large.${DOMAIN} TXT tcp`);
      const cut = await dig('+noedns', '+ignore', `large.${DOMAIN}`, 'TXT');
      expect(cut.said).toMatch(/flags: qr tc rd ra; QUERY: 1, ANSWER: 0/);
      const whole = await dig('+noedns', `large.${DOMAIN}`, 'TXT');
      expect(whole.said).toContain('Truncated, retrying in TCP mode');
      expect(whole.said.match(/x/g)?.length).toBeGreaterThanOrEqual(TEXT_BYTES);
      expect(asked(`large.${DOMAIN} TXT tcp`)).toBe(before + 1);
    });

    test('whole over UDP where EDNS says that so much may come', async () => {
      const before = asked(`large.${DOMAIN} TXT tcp`);
      const { said } = await dig('+bufsize=4096', `large.${DOMAIN}`, 'TXT');
      expect(said).toContain('EDNS: version: 0, flags:; udp: 4096');
      expect(said.match(/x/g)?.length).toBeGreaterThanOrEqual(TEXT_BYTES);
      expect(asked(`large.${DOMAIN} TXT tcp`)).toBe(before);
    });

    test('with NXDOMAIN, and with nothing for a name that has other records', async () => {
      expect((await dig(`nobody.${DOMAIN}`)).said).toContain('status: NXDOMAIN');
      const { said } = await dig(`hollow.${DOMAIN}`, 'A');
      expect(said).toContain('status: NOERROR');
      expect(said).toContain('ANSWER: 0');
    });

    test('by nothing, where the name server of the target says nothing', async () => {
      const { code, said } = await dig('+tries=1', '+timeout=1', `silent.${DOMAIN}`);
      expect({ code, said }).toEqual({ code: 9, said: expect.stringContaining('no servers could be reached') });
      await stage.names.line(`asked silent.${DOMAIN} A udp`);
    });

    test('by nobody, where the target has no name server at that address', async () => {
      const { code, said } = await dig('+tries=1', '+timeout=5', '@10.99.0.1', `web.${DOMAIN}`);
      expect({ code, said }).toEqual({ code: 9, said: expect.stringContaining('connection refused') });
    });
  });

  test('time out as time-outs for getaddrinfo', async () => {
    const outcome = await stage.exec(['python3', stage.here(source('resolve.py')), `silent.${DOMAIN}`], {
      variables: { RES_OPTIONS: 'timeout:1 attempts:1' },
    });
    expect(outcome.stdout).toBe(`silent.${DOMAIN}: [Errno -3] Temporary failure in name resolution\n`);
  });

  test('are asked for once, and then known for as long as the answer holds', async () => {
    const before = asked(`web.${DOMAIN} A udp`);
    const ask = `getent ahostsv4 web.${DOMAIN} >>found`;
    const outcome = await stage.shell(
      `${ask}; ${ask}; ${ask}; dig +noedns +noadflag +short web.${DOMAIN}; wc -l <found`,
    );
    expect(outcome.stdout, outcome.stderr).toBe(`${BEYOND}\n9\n`);
    expect(asked(`web.${DOMAIN} A udp`)).toBe(before + 1);
  });
});
