// What arrived and what was lost, by port and reason, and the sentences that tell it. Pure.

import { type Counters, type Loss, LossReason } from '#proto/gen/v1/incoming.ts';

/** Why something did not reach the local process although it reached us. */
/** Of connections a number, of datagrams another name. */
export type PortName = number | `${number}/udp`;

export type LocalLoss = 'refused' | 'not sent' | 'closed early' | 'incomplete' | 'too many' | 'too much';

interface PortTally {
  /** Of datagrams: peers. */
  connections: number;
  datagrams: number;
  bytes: number;
  /** As the service counted at the end; it knows what it never sent. */
  requests: number;
  notMatched: number;
  notSampled: number;
  readonly losses: Map<string, { connections: number; bytes: number; packets: number }>;
  /** Of subscriptions whose sum never came: what they told while they were in force. */
  readonly untold: Map<number, readonly Loss[]>;
}

const REASONS: Readonly<Record<number, string>> = {
  [LossReason.LOSS_REASON_RING_FULL]: 'the capture could not keep up',
  [LossReason.LOSS_REASON_CLIENT_SLOW]: 'the local process, or the way to it, was too slow',
  [LossReason.LOSS_REASON_NOT_SEEN]: 'packets did not come by the capture',
  [LossReason.LOSS_REASON_REASSEMBLY_LIMIT]: 'too much was out of order',
  [LossReason.LOSS_REASON_CONNECTION_LIMIT]: 'too many connections at once',
  [LossReason.LOSS_REASON_RATE_LIMIT]: 'beyond the limit of bytes per second',
  [LossReason.LOSS_REASON_OLDER]: 'they began before the session',
  [LossReason.LOSS_REASON_MALFORMED]: 'packets could not be read',
  [LossReason.LOSS_REASON_FRAGMENTED]: 'more fragments of datagrams at once than are put together (of any port)',
  [LossReason.LOSS_REASON_FILTER_LIMIT]: 'too large for the filter to decide',
  [LossReason.LOSS_REASON_SERVICE_LOST]: 'the sniffer was lost',
};

const LOCAL_REASONS: Readonly<Record<LocalLoss, string>> = {
  refused: 'the local process did not accept',
  'not sent': 'this machine could not send them on',
  'closed early': 'the local process closed first',
  incomplete: 'ended here because something in between was lost',
  'too many': 'too many connections at once',
  'too much': 'too many bytes wait for the local process',
};

export function reasonText(reason: LossReason): string {
  return REASONS[reason] ?? `reason ${reason}`;
}

export class Tally {
  readonly #ports = new Map<PortName, PortTally>();
  readonly #what: 'mirrored' | 'stolen';

  constructor(what: 'mirrored' | 'stolen' = 'mirrored') {
    this.#what = what;
  }

  get isEmpty(): boolean {
    return this.#ports.size === 0;
  }

  arrived(port: PortName): void {
    this.#port(port).connections += 1;
  }

  delivered(port: PortName, bytes: number): void {
    this.#port(port).bytes += bytes;
  }

  datagram(port: PortName, bytes: number): void {
    this.#port(port).datagrams += 1;
    this.delivered(port, bytes);
  }

  lostHere(port: PortName, why: LocalLoss, bytes: number): void {
    this.#lose(port, LOCAL_REASONS[why], 1, bytes, 0);
  }

  /** Where no counters of the service will come. */
  lostAt(port: PortName, reason: LossReason, connections: number): void {
    this.#lose(port, reasonText(reason), connections, 0, 0);
  }

  /** `subscription` did not get its sum in time; when it comes later, `ended` takes the place of these. */
  untold(port: PortName, subscription: number, losses: readonly Loss[]): void {
    this.#port(port).untold.set(subscription, losses);
  }

  ended(port: PortName, subscription: number, counters: Counters): void {
    const tally = this.#port(port);
    tally.untold.delete(subscription);
    tally.requests += Number(counters.requests);
    tally.notMatched += Number(counters.notMatched);
    tally.notSampled += Number(counters.notSampled);
    addLosses(tally.losses, counters.losses);
  }

  /** One line for each port, and one for each way of losing. */
  lines(verb: 'mirrored' | 'stolen' | 'seen' = this.#what): string[] {
    return [...this.#ports].flatMap(([port, tally]) => [
      `port ${port}: ${arrivedText(port, tally)}${requestsOf(tally)}, ${bytesText(tally.bytes)} ${verb}`,
      ...[...lossesOf(tally)].map(([why, loss]) => `port ${port}: lost ${lossText(loss)}: ${why}`),
      ...(tally.untold.size > 0 ? [`port ${port}: what else was lost was not told in time`] : []),
    ]);
  }

  /** For programs. */
  summary(): object[] {
    return [...this.#ports].map(([port, tally]) => {
      const { losses: _, untold, ...sums } = tally;
      const losses = [...lossesOf(tally)].map(([why, loss]) => ({ why, ...loss }));
      return { port, ...sums, losses, isWhole: untold.size === 0 };
    });
  }

  #lose(port: PortName, why: string, connections: number, bytes: number, packets: number): void {
    addLoss(this.#port(port).losses, why, { connections, bytes, packets });
  }

  #port(port: PortName): PortTally {
    let tally = this.#ports.get(port);
    if (tally === undefined) {
      const none = { connections: 0, datagrams: 0, bytes: 0, requests: 0, notMatched: 0, notSampled: 0 };
      tally = { ...none, losses: new Map(), untold: new Map() };
      this.#ports.set(port, tally);
    }
    return tally;
  }
}

type Sums = { connections: number; bytes: number; packets: number };

function addLoss(to: Map<string, Sums>, why: string, { connections, bytes, packets }: Sums): void {
  if (connections === 0 && bytes === 0 && packets === 0) return;
  const loss = to.get(why) ?? { connections: 0, bytes: 0, packets: 0 };
  loss.connections += connections;
  loss.bytes += bytes;
  loss.packets += packets;
  to.set(why, loss);
}

function addLosses(to: Map<string, Sums>, losses: readonly Loss[]): void {
  for (const { reason, connections, bytes, packets } of losses) {
    const sums = { connections: Number(connections), bytes: Number(bytes), packets: Number(packets) };
    addLoss(to, reasonText(reason), sums);
  }
}

/** With those of subscriptions whose sum never came. */
function lossesOf({ losses, untold }: PortTally): Map<string, Sums> {
  const all = new Map([...losses].map(([why, loss]) => [why, { ...loss }]));
  for (const told of untold.values()) addLosses(all, told);
  return all;
}

function arrivedText(port: PortName, { connections, datagrams }: PortTally): string {
  if (typeof port === 'number') return counted(connections, 'connection');
  return `${counted(datagrams, 'datagram')} of ${counted(connections, 'peer')}`;
}

function requestsOf({ requests, notMatched, notSampled }: PortTally): string {
  const some = requests > 0 ? ` with ${counted(requests, 'request')}` : '';
  const others = notMatched > 0 ? ` (${notMatched} more did not match)` : '';
  return `${some}${others}${notSampled > 0 ? ` (${notSampled} more were not sampled)` : ''}`;
}

function lossText({ connections, bytes, packets }: { connections: number; bytes: number; packets: number }): string {
  const parts = [
    ...(bytes > 0 ? [bytesText(bytes)] : []),
    ...(packets > 0 ? [counted(packets, 'packet')] : []),
    ...(connections > 0 ? [`${bytes > 0 || packets > 0 ? 'of ' : ''}${counted(connections, 'connection')}`] : []),
  ];
  return parts.join(' ');
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

export function bytesText(bytes: number): string {
  if (bytes < 10_000) return counted(bytes, 'byte');
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1000;
  while (value >= 1000 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[0]}`;
}
