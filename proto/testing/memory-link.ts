// Two ends of a session joined in memory by carriers that a test delivers batch by batch, cuts and replaces: what a network
// does, in the order that the test wants.

import type { Carrier, CarrierOwner } from '../carrier.ts';
import { AppError } from '../errors.ts';
import type { Frame } from '../frame.ts';
import { encodeMessage, type Message, MessageReader } from '../grpc-message.ts';
import { RenewableTransport } from '../renewable-transport.ts';
import { SessionStream } from '../session-stream.ts';

class MemoryCarrier implements Carrier {
  readonly waiting: Buffer[] = [];
  owner: CarrierOwner | null = null;
  peer: MemoryCarrier | null = null;
  hasEnded = false;
  isCut = false;
  error: AppError | null = null;
  /** As a socket whose peer reads slowly. */
  isFull = false;

  attach(owner: CarrierOwner): void {
    this.owner = owner;
  }

  write(batch: readonly Frame[]): boolean {
    return this.writeMessage(encodeMessage(batch));
  }

  writeMessage({ pieces }: Message): boolean {
    if (!this.isCut) this.waiting.push(Buffer.concat(pieces));
    return !this.isFull;
  }

  end(): void {
    this.hasEnded = true;
  }

  destroy(error: AppError | null): void {
    this.error = error;
    this.drop();
  }

  depart(lastWord: Message, error: AppError): void {
    this.writeMessage(lastWord);
    this.error = error;
  }

  drop(): void {
    this.isCut = true;
  }
}

export interface End {
  readonly stream: SessionStream;
  readonly transport: RenewableTransport;
  readonly received: Frame[];
  readonly closed: (AppError | null)[];
  readonly breaks: AppError[];
  /** Of the carrier that holds now. */
  carrier: MemoryCarrier;
}

export class MemoryLink {
  readonly client: End;
  readonly agent: End;

  constructor(options: { creditBytes?: number; windowBytes?: number } = {}) {
    this.client = makeEnd('agent', options);
    this.agent = makeEnd('client', options);
    this.#join(0, 0);
  }

  /** Hands the eldest batch of one direction over. False when there is none. */
  deliver(direction: 'up' | 'down'): boolean {
    const from = direction === 'up' ? this.client.carrier : this.agent.carrier;
    const message = from.waiting.shift();
    if (message === undefined) return false;
    const { peer } = from;
    if (peer === null || peer.isCut || from.isCut) return true;
    new MessageReader((batch) => peer.owner?.receive(batch) ?? false).push(Buffer.from(message));
    return true;
  }

  /** What is on its way is lost, and both ends are told, the one before the other. */
  cut(first: 'client' | 'agent' = 'client'): void {
    const order = first === 'client' ? [this.client, this.agent] : [this.agent, this.client];
    for (const { carrier } of order) carrier.waiting.length = 0;
    for (const { carrier } of order) {
      const owner = carrier.owner;
      carrier.drop();
      owner?.transportEnded(new AppError('AGENT_LOST', 'cut'));
    }
  }

  /** As the two ends do it: what each has received is read when nothing can change it any more. */
  renew(): void {
    const clientReceived = this.client.transport.received;
    this.#join(clientReceived, this.agent.transport.received);
  }

  /** Until nothing moves. Turns of the loop, because ends batch what one turn brings. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 2; ) {
      await new Promise((resolve) => setImmediate(resolve));
      const moved = [this.deliver('up'), this.deliver('down')].includes(true);
      idle = moved ? 0 : idle + 1;
    }
  }

  close(): void {
    this.client.stream.destroy();
    this.agent.stream.destroy();
  }

  #join(clientReceived: number, agentReceived: number): void {
    const up = new MemoryCarrier();
    const down = new MemoryCarrier();
    up.peer = down;
    down.peer = up;
    this.client.carrier = up;
    this.agent.carrier = down;
    this.agent.transport.adopt(down, clientReceived);
    this.client.transport.adopt(up, agentReceived);
  }
}

function makeEnd(peer: string, options: { creditBytes?: number; windowBytes?: number }): End {
  const received: Frame[] = [];
  const closed: (AppError | null)[] = [];
  const breaks: AppError[] = [];
  const { windowBytes, creditBytes } = options;
  const transport = new RenewableTransport({
    onBroken: (error) => breaks.push(error),
    ...(windowBytes === undefined ? {} : { windowBytes }),
  });
  const stream = new SessionStream({
    transport,
    peer,
    lostCode: 'AGENT_LOST',
    ...(creditBytes === undefined ? {} : { creditBytes }),
    onFrame: (frame) => {
      received.push({ ...frame, head: Buffer.from(frame.head), data: Buffer.from(frame.data) });
    },
    onClosed: (error) => closed.push(error),
  });
  transport.bind(stream);
  return { stream, transport, received, closed, breaks, carrier: new MemoryCarrier() };
}
