// What happens between two network cards, by tc(8) and test/fixtures/wire.bpf.c at both ends of a veth pair: packets lost before a
// capture and behind it, that come twice, or late, with tags of VLANs.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { can, canRun } from '../can.ts';
import type { TargetNetwork } from '../fixtures/network.ts';
import type { RunningTarget } from '../fixtures/target.ts';

/** By end of the wire and direction: the section of wire.bpf.c. */
export type Wire = Partial<Record<'target in' | 'target out' | 'peer in' | 'peer out', string>>;

export const canWire = [can.root, canRun('tc'), canRun('clang')].find(({ yes }) => !yes) ?? can.root;

const program = path.join(import.meta.dirname, '../../build/wire.bpf.o');

export function buildWire(): void {
  mkdirSync(path.dirname(program), { recursive: true });
  // clang for BPF looks for the machine's own headers nowhere.
  const machineHeaders = execFileSync('cc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
  const flags = ['-O2', '-g', '-target', 'bpf', `-I/usr/include/${machineHeaders}`];
  const source = path.join(import.meta.dirname, '../fixtures/wire.bpf.c');
  execFileSync('clang', [...flags, '-c', source, '-o', program]);
}

export async function lay(network: TargetNetwork, wire: Wire): Promise<void> {
  const ends = { target: [network.target, 'toward'], peer: [network.beyond, 'back'] } as const;
  for (const [where, device] of Object.values(ends)) {
    await network.run(where, `tc qdisc add dev ${device} clsact`);
    if (Object.values(wire).includes('late')) await layLate(network, where, device);
  }
  for (const [at, section] of Object.entries(wire)) {
    const [where, device] = ends[at.startsWith('target') ? 'target' : 'peer'];
    const direction = at.endsWith(' in') ? 'ingress' : 'egress';
    await network.run(where, `tc filter add dev ${device} ${direction} bpf da obj ${program} sec tc/${section}`);
  }
}

/** Two queues, and packets that are no larger than a wire's. */
async function layLate(network: TargetNetwork, where: RunningTarget, device: string): Promise<void> {
  const queue = (number: string, rate: string) =>
    network.run(where, `tc class add dev ${device} parent 1: classid 1:${number} htb ${rate}`);
  await network.run(where, `ip link set ${device} gso_max_segs 1`);
  await network.run(where, `tc qdisc add dev ${device} root handle 1: htb default 10`);
  await queue('10', 'rate 10gbit burst 1m quantum 60000');
  await queue('20', 'rate 20mbit burst 2k quantum 2000');
}

/** TcpExt of netstat(8), of the network namespace: `TCPOFOQueue` are segments that came too early. */
export async function tcpCount(network: TargetNetwork, where: RunningTarget, name: string): Promise<number> {
  const [names = '', numbers = ''] = (await network.run(where, 'grep ^TcpExt: /proc/self/net/netstat')).split('\n');
  return Number(numbers.split(' ')[names.split(' ').indexOf(name)]);
}
