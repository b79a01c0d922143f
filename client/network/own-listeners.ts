// Does the local process, or a descendant of it, listen on this port here? Then a connection to itself stays here. Asked
// for connections to localhost only; reads /proc.

import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { WireTransport } from '#proto/wire.ts';

/** TCP_LISTEN, and what /proc/net/udp calls a socket that is not connected. */
const TCP_LISTEN = '0A';
const UDP_UNCONNECTED = '07';
const PIECE_BYTES = 4096;
/** With a state other than TCP_LISTEN. */
const CONNECTED_LINE = /^ *\d+: [0-9A-F:]+ [0-9A-F:]+ (?!0A)[0-9A-F]{2} /m;

/** `root`: the process whose descendants are meant. Others' processes that cannot be looked into are not ours. */
export function isListening(port: number, transport: WireTransport, root: number): boolean {
  const [name, state] = transport === WireTransport.UDP ? ['udp', UDP_UNCONNECTED] : ['tcp', TCP_LISTEN];
  const inodes = [name, `${name}6`].flatMap((table) => inodesOf(`/proc/net/${table}`, port, state));
  if (inodes.length === 0) return false;
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`));
  return descendantsOf(root).some((pid) => holdsOneOf(pid, links));
}

/** Searched as one text: a machine has thousands of lines, and a connection waits. Fields as in proc_net_tcp of the kernel. */
function inodesOf(table: string, port: number, state: string): string[] {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const line = new RegExp(`${local} [0-9A-F]+:[0-9A-F]{4} ${state} (?:\\S+ +){5}(\\d+)`, 'g');
  const text = state === TCP_LISTEN ? readListening(table) : readText(table);
  return [...text.matchAll(line)].map(([, inode = '']) => inode).filter((inode) => inode !== '0');
}

function descendantsOf(root: number): number[] {
  // CONFIG_PROC_CHILDREN; without it every process is looked at.
  const children = existsSync('/proc/thread-self/children') ? childrenOf : childrenByParents();
  const found = [root];
  for (const pid of found) found.push(...children(pid));
  return found;
}

function childrenByParents(): (pid: number) => number[] {
  const children = new Map<number, number[]>();
  for (const name of list('/proc').filter((one) => /^\d+$/.test(one))) {
    const stat = readText(`/proc/${name}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  return (pid) => children.get(pid) ?? [];
}

function childrenOf(pid: number): number[] {
  const threads = list(`/proc/${pid}/task`);
  return threads.flatMap((thread) =>
    readText(`/proc/${pid}/task/${thread}/children`).split(' ').map(Number).filter(Boolean),
  );
}

function holdsOneOf(pid: number, links: ReadonlySet<string>): boolean {
  const folder = `/proc/${pid}/fd`;
  return list(folder).some((fd) => links.has(readLink(`${folder}/${fd}`)));
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // It has ended, or is not ours to look into.
    return [];
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** The kernel names those that listen first (tcp_seq_start), and takes long for thousands that are connected. */
function readListening(table: string): string {
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  let text = '';
  let fd = -1;
  try {
    fd = openSync(table, 'r');
    for (let bytes = readSync(fd, piece); bytes > 0; bytes = readSync(fd, piece)) {
      text += piece.toString('latin1', 0, bytes);
      if (CONNECTED_LINE.test(text)) break;
    }
  } catch {
    // A machine without IPv6 has no table of it.
  } finally {
    if (fd >= 0) closeSync(fd);
  }
  return text;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
