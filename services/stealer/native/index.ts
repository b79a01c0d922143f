// The typed door of stealer.node, and where it lies.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { AppError } from '#proto/errors.ts';

/** An address in IPv6's form, IPv4 as ::ffff:a.b.c.d. */
export type NativeEndpoint = Readonly<{ address: Buffer; port: number }>;

export type NativeAccepted = Readonly<{ fd: number; peer: NativeEndpoint; local: NativeEndpoint }>;

export interface NativeRedirect {
  setPort(port: number, isStolen: boolean): void;
  /** Connects to where an accepted connection was meant to go, past the redirect. The caller owns the descriptor. */
  dial(namespaceFd: number, acceptedFd: number): NativeEndpoint & Readonly<{ fd: number }>;
  /** What `dial` came from is an address like any other again. */
  forget(address: Buffer, port: number): void;
  /** Connections go to the target from here on. Idempotent. */
  close(): void;
}

/** Of `NativeSockets`' `told`, as a sum. */
export const SOCKET_READABLE = 1;
export const SOCKET_WRITABLE = 2;
/** The peer's end, or an error, is behind what can be read. */
export const SOCKET_ENDS = 4;
/** The socket was joined with another one, and is not any more. */
export const PAIR_PARTED = 8;
/** A request was passed on, its answer is due; its method is HEAD. */
export const PAIR_ASKED = 16;
export const PAIR_ASKED_HEAD = 32;
/** What was read lies in the memory; a count below 1 is what the read returned. */
export const PAIR_READ = 64;
/** So does what is left to be written to the other one, of a message that was passed on. */
export const PAIR_REST = 128;
/** A part of the body of the request that was passed on is still to come: `takeLeft` says how much. */
export const PAIR_UNSENT = 256;
/** The request that was passed on last said that no other one follows it. */
export const PAIR_LAST = 512;
/** With PAIR_REST: of an answer that says that the connection ends with it. */
export const PAIR_FINAL = 1024;
/** Of a client that nobody knows yet; `start` is its descriptor, for `takeArrival`. */
export const ARRIVAL_BORN = 2048;
/** Of a door: `start` is the descriptor of a connection that is for who opened it. */
export const ARRIVAL_STRANGE = 4096;
/** Of a door: there was no descriptor for the next connection; `resumeDoor` tries again. */
export const ARRIVAL_SHORTAGE = 8192;
/** Ids of who adds sockets are below it. */
export const FIRST_ARRIVAL_ID = 2 ** 31;
/** Beside the number of those that are told: others are ready, and wait until these have been dealt with. */
export const TOLD_MORE = 1 << 16;
/** Sockets that are told of at once. */
export const SOCKETS_PER_WAIT = 256;
/** What the head of a request comes to in `lines`: method, target and each `name: value`, a line feed between each two. */
export const HEAD_LINES_BYTES = 128 * 1024;
/** Of such a head: its screen, whether a body follows (0 or 1), and where method, target and lines end. */
export const HEAD_FACTS = 5;
/** Words for each of them in `told`: id, sum, and where in the memory what lies there begins, and its count (signed). */
export const WORDS_PER_SOCKET = 4;

/**
 * Sockets of one epoll descriptor, edge-triggered, on this thread's event loop. Numbers below 0 are -errno.
 *
 * Two of them may be joined, a client's and its own to the target, between two requests of HTTP/1: as long as requests and
 * answers are plain (native/plain_message.h) and their head has none of the texts of a screen, they are passed on and nobody
 * is told.
 */
export interface NativeSockets {
  /**
   * Connections to the listener are accepted from here on. To the ports of `setDoorPort` they are dialled on and their plain requests passed on
   * without that anybody is told; all others are told by ARRIVAL_STRANGE.
   *
   * @param redirect that our own connections have to go past; null where a mark does it
   * @param isTranslated where a connection was meant to go is said by `originalDestination`
   * @param to they go there instead
   * @returns an id, or -errno
   */
  openDoor(
    listenerFd: number,
    namespaceFd: number,
    redirect: NativeRedirect | null,
    isTranslated: boolean,
    to: NativeEndpoint | null,
  ): number;
  /** @param screen -1: none, they are told */
  setDoorPort(door: number, port: number, screen: number): void;
  resumeDoor(door: number): void;
  /** @returns the clients of connections that have to be taken over by `takeArrival` right now */
  closeDoor(door: number): readonly number[];
  takeArrival(clientFd: number): NativeArrival | null;
  /** Connections of a screen that nobody has taken over. */
  arrivalsOf(screen: number): number;
  /** To be called from time to time; as `onTold`. */
  sweep(): number;
  /** Whether the event loop waits for the sockets, and lives as long as it does. Not at first. */
  watch(isOn: boolean): void;
  add(fd: number, id: number): number;
  /**
   * It is in TLS from here on: to be called before anything is read or written, which go on with its plaintext.
   *
   * @param protocols of ALPN, each behind a character that is its length; a server's at most one
   */
  secure(fd: number, context: NativeTlsContext, serverName: string, protocols: string): void;
  /** Whenever it is ready: 1 when both ends know each other, -EAGAIN while they do not, -EPROTO when they will not. */
  handshake(fd: number): number;
  /** Of one in TLS: a read would tell its end, or its failure, without that the kernel says so. */
  hasEnd(fd: number): boolean;
  /** Null when it is not in TLS. */
  agreed(fd: number): NativeAgreed | null;
  /** After TOLD_MORE: goes on with the others that are ready. As `onTold`. */
  more(): number;
  /** The two are at rest: all is read and written. False when nothing was ever said of the screen. */
  join(clientFd: number, clientId: number, originFd: number, originId: number, screen: number): boolean;
  /** A sum of PAIR_PARTED and what is on its way; 0 when it is not joined. */
  part(fd: number): number;
  /** After PAIR_UNSENT, once: bytes of the request's body that are still to come from the client. */
  takeLeft(clientFd: number): number;
  /**
   * As `join`, of HTTP/2: both are between two frames.
   *
   * @param highest stream that the client has begun
   * @param open streams that the target was asked on and has not ended
   * @param blocks header blocks of requests that pass, as long as nothing else is said of the screen and the table stays as it is
   * @param tableBytes how large the client has chosen its header table
   * @param table its fields from the eldest on, each behind the sizes of its name and its value: 4 octets each, the least first
   */
  joinStreams(
    clientFd: number,
    clientId: number,
    originFd: number,
    originId: number,
    screen: number,
    highest: number,
    open: readonly number[],
    blocks: readonly Uint8Array[],
    tableBytes: number,
    table: Uint8Array,
  ): boolean;
  /** After it was parted, once: where the two are. */
  takeStreams(clientFd: number): NativeStreams | null;
  /**
   * @param texts in lower case; null stops every request
   * @param isJudged `onHead` is asked of those that are stopped, before anybody is told
   */
  setScreen(screen: number, texts: readonly string[] | null, isJudged: boolean): void;
  /** Nobody wants a request with the head that lies there, as long as nothing else is said of the screen. */
  learnHead(screen: number, bytes: Uint8Array, start: number, end: number): void;
  /** Requests that the screen let pass since the last call. */
  takeCount(screen: number): number;
  /** Into the memory that was given to the constructor. 0 is the peer's end, -EAGAIN says that nothing is there. */
  read(fd: number, most: number): number;
  /** What lies in that memory; how many bytes the kernel took. */
  writeRead(fd: number, start: number, length: number): number;
  write(fd: number, bytes: Uint8Array): number;
  /** FIN; of one in TLS behind its word for that, but for `isTorn`. */
  end(fd: number, isTorn: boolean): number;
  /** Of one in TLS: its peer has ended without a word of that. */
  isTorn(fd: number): boolean;
  close(fd: number, isReset: boolean): void;
}

/** A frame of HTTP/2 of which `left` bytes are still to come. */
export type NativeCutFrame = Readonly<{ left: number; type: number; flags: number; streamId: number }>;

/** As `joinStreams` was told, after what was passed on meanwhile. */
export type NativeStreams = Readonly<{
  highest: number;
  open: readonly number[];
  /** What the client's window of the connection has grown by, or shrunk. */
  window: number;
  /** The client's header table where it is another one than before; null when it is the same. */
  table: Buffer | null;
  cutRequest: NativeCutFrame | null;
  cutAnswer: NativeCutFrame | null;
}>;

/** A connection that was accepted, and its own to the target. */
export type NativeArrival = Readonly<{
  clientFd: number;
  clientId: number;
  originFd: number;
  originId: number;
  door: number;
  peer: NativeEndpoint;
  local: NativeEndpoint;
  /** Where the one to the target comes from. */
  bound: NativeEndpoint;
  isDialling: boolean;
  /** What the client is ready for and has not been read, as a sum. */
  clientMask: number;
  /** A request of it has been passed on. */
  wasAsked: boolean;
}>;

/** Tables of nf_tables that are bound to this process, where the kernel can do that, or are not; or a chain of ip_tables. */
export type NatKind = 'owned' | 'guarded' | 'legacy';

/** What many connections have in common in TLS. */
export type NativeTlsContext = Readonly<{ readonly isTlsContext?: never }>;

/** What the two ends said of themselves in a handshake that has ended, or failed. */
export type NativeAgreed = Readonly<{
  /** Empty: none. */
  protocol: string;
  /** The server wants a certificate of its clients, or would like one. */
  asksWhoWeAre: boolean;
  /** The peer has said anything at all. */
  hasHeard: boolean;
  /** In OpenSSL's words, for -EPROTO. */
  fault: string;
}>;

export interface NativeNat extends Omit<NativeRedirect, 'forget'> {
  /** What was made in the kernel goes with this process; else it has to be removed by name. */
  isOwned(): boolean;
  hasIpv6(): boolean;
  /** After `close`: a peer that was reset reaches the target again, also by the same port. */
  forgetReset(namespaceFd: number): void;
  /** After `close`: connections that were translated are not any more. */
  release(): void;
}

export interface StealerAddon {
  /** Every call throws an Error with `errno` and `syscall`. */
  Redirect: new (
    namespaceFd: number,
    listenerFd: number,
  ) => NativeRedirect;
  /**
   * @param told filled, for so many sockets and perhaps TOLD_MORE, before `onTold` is called
   * @param onHead whether nobody wants the request whose head lies in `lines`, as `facts` have it. Called in the middle of a read: nothing of
   *   a socket may be changed, and of what it throws nobody hears
   */
  Sockets: new (
    bytes: Uint8Array,
    told: Uint32Array,
    onTold: (count: number) => void,
    lines: Uint8Array,
    facts: Uint32Array,
    onHead: () => boolean,
  ) => NativeSockets;
  /** PEM, which it copies; empty for what there is none of. Throws an Error that says why. */
  TlsContext: new (
    isServer: boolean,
    certificate: Uint8Array,
    key: Uint8Array,
    roots: Uint8Array,
    ciphers: string,
  ) => NativeTlsContext;
  /** What sockets that are joined pass on: for the test that holds it against the readers of services/runtime/http. */
  isPlainRequest(bytes: Uint8Array): 'kept' | 'last' | null;
  isPlainResponse(bytes: Uint8Array, isToHead: boolean): 'kept' | 'last' | null;
  /** Whether the head of a plain request of HTTP/1 is in `lines` now, as filters see it: for the test that holds it against them. */
  takeHead(request: Uint8Array, lines: Uint8Array, facts: Uint32Array): boolean;
  /**
   * A client's header block as joined connections of HTTP/2 read it: for the test that holds it against services/runtime/http2.
   *
   * @returns its fields, the table afterwards, and whether it has none of the texts; null when it is not read
   */
  readHead(
    tableBytes: number,
    table: Uint8Array,
    block: Uint8Array,
    texts: readonly string[],
    hasBody: boolean,
    lines: Uint8Array,
    facts: Uint32Array,
  ): Readonly<{
    fields: ReadonlyArray<readonly [Buffer, Buffer]>;
    table: Buffer;
    passes: boolean;
    /** `lines` have it as filters see it. */
    isTaken: boolean;
  }> | null;
  /** What a socket has to be read, up to the length of `bytes`, and keeps: as `NativeSockets.read`. */
  peek(fd: number, bytes: Uint8Array): number;
  /** The socket is readable with so many bytes, or at its peer's end. 0 or -errno. */
  wakeAt(fd: number, bytes: number): number;
  /** By translation of addresses, in tables, or a chain, whose name begins with `mirrord-steal-`. */
  Nat: new (
    namespaceFd: number,
    listenerFd: number,
    name: string,
    how: NatKind,
  ) => NativeNat;
  /** Removes tables and chains of a name, or with '' all that stealers have left; EPERM when one is there that owns its own. */
  sweep(namespaceFd: number, name: string): void;
  /** Where an accepted connection was meant to go; null when no translation brought it. */
  originalDestination(acceptedFd: number): NativeEndpoint | null;
  /** A descriptor to ask with what is listened on in the namespace; the caller closes it. */
  openListening(namespaceFd: number): number;
  /** Ports, each as often as it has a listener. */
  listening(fd: number): readonly number[];
  /** `namespaceFd` -1 is this process's own. */
  listen(namespaceFd: number, backlog: number): number;
  /** A descriptor that is being connected. */
  connect(namespaceFd: number, to: NativeEndpoint): number;
  localOf(fd: number): NativeEndpoint;
  /** Listens at an abstract name of the namespace until the descriptor is closed; EADDRINUSE while another process does. */
  claim(namespaceFd: number, name: string): number;
  /** Connects to who listens there; ECONNREFUSED when nobody does, EAGAIN while too many wait. */
  join(namespaceFd: number, name: string): number;
  /** The next connection to a claimed name; null when none waits. */
  acceptPeer(listenerFd: number): number | null;
  /** Who is at the other end of a unix socket. Its pidfd is the caller's, -1 with pid 0: a process that we cannot see. */
  peerOf(fd: number): Readonly<{ pid: number; uid: number; pidFd: number }>;
  /** Kills the process of a pidfd, also one that is stopped. */
  endPeer(pidFd: number): void;
  accept(listenerFd: number): NativeAccepted | null;
  /** The same of one that was accepted. */
  endsOf(fd: number): NativeAccepted;
}

let loaded: StealerAddon | null = null;

export function stealerAddon(): StealerAddon {
  loaded ??= createRequire(import.meta.url)(stealerAddonPath()) as StealerAddon;
  return loaded;
}

/** From the source tree or from a bundle in dist/. */
export function stealerAddonPath(): string {
  const places = ['./build/stealer.node', '../services/stealer/native/build/stealer.node'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  const path = places.find((place) => existsSync(place));
  if (path === undefined) throw new AppError('BUG', `stealer.node is not built: none of ${places.join(', ')}`);
  return path;
}
