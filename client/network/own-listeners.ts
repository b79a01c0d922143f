// Does the local process, or a descendant of it, listen on this port here? Then a connection to itself stays here. Asked
// for connections to localhost only; reads /proc.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { WireTransport } from '#proto/wire.ts';

/** TCP_LISTEN, and what /proc/net/udp calls a socket that is not connected. */
const TCP_LISTEN = '0A';
const UDP_UNCONNECTED = '07';

/** `root`: the process whose descendants are meant. Others' processes that cannot be looked into are not ours. */
export function isListening(port: number, transport: WireTransport, root: number): boolean {
  const [name, state] = transport === WireTransport.UDP ? ['udp', UDP_UNCONNECTED] : ['tcp', TCP_LISTEN];
  const inodes = [name, `${name}6`].flatMap((table) => inodesOf(`/proc/net/${table}`, port, state));
  if (inodes.length === 0) return false;
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`));
  return descendantsOf(root).some((pid) => holdsOneOf(pid, links));
}

function inodesOf(table: string, port: number, state: string): string[] {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return readText(table)
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(ending) && fields[3] === state)
    .map((fields) => fields[9] ?? '')
    .filter((inode) => inode !== '' && inode !== '0');
}

function descendantsOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readText(`/proc/${name}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found = [root];
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}

function holdsOneOf(pid: number, links: ReadonlySet<string>): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => links.has(readLink(`${folder}/${fd}`)));
  } catch {
    // It has ended, or is not ours to look into.
    return false;
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
