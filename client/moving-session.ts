// A session that goes on beside another pod when its target has gone: what asks it sees one session all the time. Handles
// and connections of the target that is gone are gone with it, and say so; paths are those of the new one.

import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import type { ConnectionReceiver, FileAnswer, FileOperation, RequestOptions, Session } from './session.ts';

/** What the parts of a run need of their session. */
export type RunSession = Pick<
  Session,
  | 'sessionId'
  | 'facts'
  | 'limits'
  | 'lost'
  | 'requestsByKind'
  | 'request'
  | 'tell'
  | 'drained'
  | 'bufferedBytes'
  | 'openConnection'
  | 'closeConnection'
  | 'send'
  | 'carry'
  | 'arrivals'
  | 'suspend'
  | 'resume'
  | 'close'
> & {
  /** Called whenever another target has taken the place of the one before. */
  whenMoved?: (listener: () => void) => void;
};

export interface MovingOptions {
  /** Opens a session with the target's successor, its ids above `lastId`. Rejects when there is none. */
  next(lastId: number, signal: AbortSignal): Promise<Session>;
  onMoving(reason: string): void;
  onMoved(session: Session): void;
  /** There is no other target: the session is over. */
  onStuck(error: AppError): void;
}

/** For what is numbered on the way from one to the next. */
const ID_GAP = 8_192;

export class MovingSession implements RunSession {
  readonly #options: MovingOptions;
  readonly #giveUp = new AbortController();
  #current: Session;
  /** Of the current session: numbers we gave out to numbers of the agent. */
  #handles = new Map<number, number>();
  #lastHandle = 0;
  /** Of the target before. */
  #lastId = 0;
  #moving: Promise<void> | null = null;
  #lost: AppError | null = null;
  #arrivals: RunSession['arrivals'] = null;
  readonly #listeners: (() => void)[] = [];

  constructor(first: Session, options: MovingOptions) {
    this.#current = first;
    this.#options = options;
  }

  get sessionId(): string {
    return this.#current.sessionId;
  }

  get facts(): Session['facts'] {
    return this.#current.facts;
  }

  get limits(): Session['limits'] {
    return this.#current.limits;
  }

  get requestsByKind(): Session['requestsByKind'] {
    return this.#current.requestsByKind;
  }

  /** Not null between two targets either: what is asked for then fails, as it would on a host that is being replaced. */
  get lost(): AppError | null {
    return this.#lost ?? this.#current.lost;
  }

  get arrivals(): RunSession['arrivals'] {
    return this.#arrivals;
  }

  set arrivals(receiver: RunSession['arrivals']) {
    this.#arrivals = receiver;
    this.#current.arrivals = receiver;
  }

  whenMoved(listener: () => void): void {
    this.#listeners.push(listener);
  }

  get bufferedBytes(): number {
    return this.#current.bufferedBytes;
  }

  /** The target is gone. Idempotent while it lasts. */
  move(reason: string): void {
    if (this.#moving !== null || this.#giveUp.signal.aborted) return;
    this.#lost = new AppError('TARGET_GONE', `the target is gone (${reason}), and another is looked for`);
    this.#handles = new Map();
    this.#options.onMoving(reason);
    this.#moving = this.#moveOn().finally(() => {
      this.#moving = null;
    });
  }

  /** Paths wait for the new target; a handle of the old one is of no use any more. */
  async request(operation: FileOperation, options?: RequestOptions): Promise<FileAnswer> {
    const handle = handleOf(operation);
    if (handle !== null && !this.#handles.has(handle)) throw stale();
    if (this.#moving !== null) await this.#moving;
    if (this.#lost !== null) throw this.#lost;
    const session = this.#current;
    const answer = await session.request(this.#translated(operation), options);
    const { result } = answer.reply;
    if (result?.$case !== 'opened' || result.value.handle === 0) return answer;
    if (session !== this.#current) throw stale();
    const own = this.#takeNumber(result.value.handle);
    const { reply, data } = answer;
    return { reply: { ...reply, result: { ...result, value: { ...result.value, handle: own } } }, data };
  }

  tell(operation: FileOperation): void {
    const handle = handleOf(operation);
    if (handle === null || this.#handles.has(handle)) this.#current.tell(this.#translated(operation));
    if (handle !== null && operation.$case === 'close') this.#handles.delete(handle);
  }

  drained(): Promise<void> {
    return this.#current.drained();
  }

  openConnection(receiver: ConnectionReceiver): number {
    return this.#current.openConnection(receiver);
  }

  closeConnection(id: number): void {
    if (this.#isOurs(id)) this.#current.closeConnection(id);
  }

  send(frame: Frame): void {
    if (this.#isOurs(frame.id)) this.#current.send(frame);
  }

  carry(order: BulkOrder): boolean {
    return this.#isOurs(order.connection) && this.#current.carry?.(order) === true;
  }

  suspend(): Promise<void> {
    return this.#current.suspend();
  }

  resume(): void {
    this.#current.resume();
  }

  async close(): Promise<void> {
    this.#giveUp.abort();
    await this.#moving;
    await this.#current.close();
  }

  async #moveOn(): Promise<void> {
    const former = this.#current;
    // What hangs on it is told by its end; its agent has nothing more to say that anybody waits for.
    const ended = former.close();
    try {
      const lastId = former.lastId + ID_GAP;
      const next = await this.#options.next(lastId, this.#giveUp.signal);
      await ended;
      this.#lastId = lastId;
      this.#current = next;
      next.arrivals = this.#arrivals;
      this.#lost = null;
      this.#options.onMoved(next);
      for (const listener of this.#listeners) listener();
    } catch (thrown) {
      this.#lost = AppError.from(thrown, 'TARGET_GONE');
      if (!this.#giveUp.signal.aborted) this.#options.onStuck(this.#lost);
    }
  }

  /** Ids go on where those of the target before ended, so that what comes late names nobody else. */
  #isOurs(id: number): boolean {
    return id === 0 || id % 2 === 0 || id > this.#lastId;
  }

  #takeNumber(handle: number): number {
    do {
      this.#lastHandle = this.#lastHandle >= 0xffff_fffe ? 1 : this.#lastHandle + 1;
    } while (this.#handles.has(this.#lastHandle));
    this.#handles.set(this.#lastHandle, handle);
    return this.#lastHandle;
  }

  #translated(operation: FileOperation): FileOperation {
    const own = handleOf(operation);
    if (own === null) return operation;
    const handle = this.#handles.get(own) ?? 0;
    const { value } = operation;
    const translated = 'of' in value ? { ...value, of: { $case: 'handle', value: handle } } : { ...value, handle };
    return { $case: operation.$case, value: translated } as FileOperation;
  }
}

function handleOf({ value }: FileOperation): number | null {
  if ('handle' in value) return value.handle;
  return 'of' in value && value.of?.$case === 'handle' ? value.of.value : null;
}

function stale(): AppError {
  return new AppError('TARGET_GONE', 'the file was of a target that is gone', { errno: ERRNO.EIO });
}
