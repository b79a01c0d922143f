// A connected socket of the local process whose bytes the supervisor moves, because it cannot be handed over (seqpacket, and
// supervisors without a channel): under the supervisor's credit here and the agent's there, each direction ending on its own.
//
// dialling -> open -> over. The dial's answer is the reply to CONNECT; a dial that nobody waits for any more is given up.

import { ReceiveCredit } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { Address } from '#proto/socket-address.ts';
import { WIRE_FLOW_CREDIT_BYTES, WireError, type WireTransport } from '#proto/wire.ts';
import { replyResult } from '#proto/wire-client.ts';
import { flowCredit, flowData, flowHalfClose, flowReset, replyConnected } from '#proto/wire-net.ts';
import { AgentConnection, type ConnectionHandlers } from './agent-connection.ts';
import { DownlinkWindow } from './downlink-window.ts';
import { type Flow, type FlowHost, resetErrno, socketErrno, whenTaken } from './flow.ts';
import type { StreamTap } from './stream-tap.ts';

export class StreamFlow implements Flow, ConnectionHandlers {
  readonly #id: bigint;
  readonly #host: FlowHost;
  readonly #peer: Address;
  readonly #connection: AgentConnection;
  readonly #receiveCredit = new ReceiveCredit(WIRE_FLOW_CREDIT_BYTES);
  readonly #tap: StreamTap | null;
  #window: DownlinkWindow | null = null;
  #local: Address | null = null;
  #state: 'dialling' | 'open' | 'over' = 'dialling';
  #isEnding = false;
  #isLast = false;

  constructor(id: bigint, host: FlowHost, transport: WireTransport, peer: Address, tap: StreamTap | null = null) {
    this.#id = id;
    this.#host = host;
    this.#peer = peer;
    this.#tap = tap;
    const { session, uplink } = host;
    this.#connection = new AgentConnection({ session, uplink, transport, peer }, this);
  }

  receive(body: Buffer): void {
    if (this.#state !== 'open') return;
    try {
      this.#receiveCredit.received(body.length);
    } catch (cause) {
      throw new WireError('more data of a flow than was granted', { cause });
    }
    this.#connection.send(body);
  }

  handedOn(bytes: number): void {
    this.#connection.grant(this.#window?.handedOn(bytes) ?? 0);
  }

  halfClose(): void {
    this.#isEnding = true;
    this.#connection.end();
  }

  reset(): void {
    if (this.#state === 'over') return;
    if (this.#state === 'dialling') this.#host.link.send(replyResult(this.#id, -ERRNO.EINTR));
    this.#connection.reset();
    this.#over();
  }

  linkClosed(): void {
    this.#isLast = true;
    if (!this.#isEnding) this.reset();
    else if (this.#connection.hasSentEnd) this.#over();
  }

  onEndSent(): void {
    if (this.#isLast) this.#over();
  }

  localAddress(): Promise<Address> {
    if (this.#local !== null) return Promise.resolve(this.#local);
    return Promise.reject(new AppError('CONNECTION_FAILED', 'the flow is not connected', { errno: ERRNO.ENOTCONN }));
  }

  onConnected(local: Address | null, peer: Address | null, creditBytes: number): void {
    this.#state = 'open';
    this.#local = local;
    this.#window = new DownlinkWindow(creditBytes);
    this.#host.learnSource(local, this.#peer);
    this.#host.link.send(replyConnected(this.#id, local, peer ?? this.#peer));
  }

  onData(data: Uint8Array): void | Promise<void> {
    const { link } = this.#host;
    // What the window says first: data beyond it is not handed on.
    const grantBytes = this.#window?.received(data.length) ?? 0;
    this.#tap?.down(data);
    link.send(flowData(this.#id, data));
    this.#connection.grant(grantBytes);
    return whenTaken(link);
  }

  onHalfClose(): void {
    this.#host.link.send(flowHalfClose(this.#id));
  }

  onError(error: AppError): void {
    this.#connection.reset();
    this.onEnd(error);
  }

  onSent(bytes: number): void {
    const grantBytes = this.#receiveCredit.consumed(bytes);
    if (grantBytes > 0) this.#host.link.send(flowCredit(this.#id, grantBytes));
  }

  onEnd(error: AppError | null): void {
    if (this.#state === 'over') return;
    const { link } = this.#host;
    if (error !== null) {
      if (this.#state === 'open') link.send(flowReset(this.#id, resetErrno(error)));
      else {
        this.#host.tell(error);
        link.send(replyResult(this.#id, -socketErrno(error)));
      }
    }
    this.#over();
  }

  #over(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#host.ended(this.#id);
  }
}
