import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ReceiveCredit } from '#proto/credits.ts';
import { WIRE_FLOW_CREDIT_BYTES } from '#proto/wire.ts';
import { DownlinkWindow } from './downlink-window.ts';

test('an agent that reads in its sizes is never stuck while the local process reads, whatever its credit', () => {
  const credit = fc.constantFrom(16, 64, 256, 512, 1024, 4096).map((kib) => kib * 1024);
  fc.assert(
    fc.property(credit, fc.array(fc.integer({ min: 1, max: 65_536 }), { maxLength: 200 }), (creditBytes, sizes) => {
      const window = new DownlinkWindow(creditBytes);
      const supervisor = new ReceiveCredit(WIRE_FLOW_CREDIT_BYTES);
      const readBytes = creditBytes >= 1024 * 1024 ? 65_536 : Math.min(16_384, creditBytes / 2);
      let agentBytes = Math.min(creditBytes, WIRE_FLOW_CREDIT_BYTES);
      for (const size of sizes) {
        const bytes = Math.min(size, readBytes);
        expect(agentBytes).toBeGreaterThanOrEqual(readBytes);
        agentBytes -= bytes;
        supervisor.received(bytes);
        agentBytes += window.received(bytes);
        agentBytes += window.handedOn(supervisor.consumed(bytes));
        expect(agentBytes).toBeLessThanOrEqual(creditBytes);
      }
    }),
  );
});

test('while the local process does not read, the agent sends what the supervisor takes and no more', () => {
  for (const creditBytes of [65_536, WIRE_FLOW_CREDIT_BYTES]) {
    const window = new DownlinkWindow(creditBytes);
    let agentBytes = creditBytes;
    let sent = 0;
    while (agentBytes > 0) {
      const bytes = Math.min(agentBytes, 16_384);
      agentBytes += window.received(bytes) - bytes;
      sent += bytes;
    }
    expect(sent).toBeGreaterThan(WIRE_FLOW_CREDIT_BYTES - 65_536);
    expect(sent).toBeLessThanOrEqual(WIRE_FLOW_CREDIT_BYTES);
  }
});

test('an agent that sends more than it was granted is refused', () => {
  const window = new DownlinkWindow(65_536);
  expect(() => window.received(65_537)).toThrow('granted');
});
