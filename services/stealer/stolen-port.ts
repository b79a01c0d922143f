// One port of one target, and who steals from it. Every new connection comes here: a subscription without a filter takes it
// whole; with filters each request goes to the first that wants it, in the order in which they came; what nobody wants goes on
// to the target.

import type { BodyLimits, FilteredRequest } from '#http-filter/http-filter.ts';
import type { RequestBody } from '#http-filter/request-body.ts';
import { AppError } from '#proto/errors.ts';
import type { TlsFacts } from '#proto/gen/v1/incoming.ts';
import type { OlderConnection } from '#runtime/older-connections.ts';
import { decideOnce, firstHeadMsOf, looksOf, markedFor, marksOf } from './http-handling.ts';
import type { ClaimedPort, TargetLeases } from './leases/leases.ts';
import type { NativeArrival } from './native/index.ts';
import type { Accepted, Redirect } from './redirect.ts';
import { isMarked } from './relay/answer-fields.ts';
import { type Decision, type Taker, Undecided } from './relay/decision.ts';
import { Http1Relay } from './relay/http1-relay.ts';
import { Http2Relay } from './relay/http2-relay.ts';
import { MarkedAnswers } from './relay/marked-answers.ts';
import { PoolEndpoint } from './relay/pool-endpoint.ts';
import { joinEndpoints } from './relay/raw-relay.ts';
import { socketPool } from './relay/socket-pool.ts';
import { Standings } from './standings.ts';
import type { Subscription, TakenPeer } from './subscription.ts';
import { type Chosen, TlsIntake, type Way } from './tls/tls-intake.ts';

/** Requests on all ports since this process began, where filters were in force. */
export const requestTotals = { matched: 0, passed: 0 };

type OpenConnection = Readonly<{
  /** A subscription is over. */
  revoke: (subscription: Subscription) => void;
  /** The process is about to end. @returns whether an answer is due */
  retire: () => boolean;
}>;

export class StolenPort implements ClaimedPort {
  readonly port: number;
  readonly #leases: TargetLeases;
  readonly #redirect: Redirect;
  readonly #standings = new Standings();
  readonly #connections = new Set<OpenConnection>();
  #isTaken = false;
  #changesInForce = 0;
  /** Of the target, as it was seen last. */
  #isListening = true;
  #hasListened = false;
  #older: readonly OlderConnection[] = [];
  readonly #onConnectionClosed: () => void;
  /** Looks through plain requests for whatever a filter in force must have. */
  readonly #screen = socketPool().screens.open();

  constructor(port: number, redirect: Redirect, leases: TargetLeases, onConnectionClosed: () => void) {
    this.port = port;
    this.#leases = leases;
    this.#redirect = redirect;
    this.#onConnectionClosed = onConnectionClosed;
  }

  /** What was connected before the port was first taken: whoever steals from it may have those closed. */
  get older(): readonly OlderConnection[] {
    return this.#older;
  }

  get connections(): number {
    return this.#connections.size + socketPool().arrivalsOf(this.#screen);
  }

  get isIdle(): boolean {
    return this.#standings.isEmpty;
  }

  assertMayHave(subscription: Subscription): void {
    this.#standings.assertMayHave(subscription);
  }

  /**
   * Puts a subscription in force, or lets it wait.
   *
   * @returns facts for its user
   * @throws AppError LIMIT_REACHED naming who holds the port, since when and with what
   */
  add(subscription: Subscription): string[] {
    const wasIdle = this.isIdle;
    this.countPassed();
    const clashes = this.#clashesOf(subscription);
    const { notes, lost } = this.#standings.add(subscription);
    this.#stands();
    notes.push(...clashes);
    for (const one of lost) one.owner.lose(one, subscription.describe());
    if (wasIdle) notes.push(...this.#lookAround());
    this.#settle();
    return notes;
  }

  /** @returns who shows another certificate for a name, as who came first does */
  #clashesOf(subscription: Subscription): string[] {
    for (const other of this.#standings.inForce) {
      const pairs = subscription.identities.flatMap((own) => other.identities.map((one) => own.clashWith(one)));
      const name = pairs.find((one) => one !== undefined);
      if (name === undefined) continue;
      const since = new Date(Number(other.sinceNs / 1_000_000n)).toISOString();
      return [
        `clients that ask for ${name} see the certificate of session ${other.owner.sessionId}, which is here since ${since}; ` +
          'this one takes its place when that session ends, and the filters of both hold',
      ];
    }
    return [];
  }

  /** @returns what the user should know about connections that are there already */
  #lookAround(): string[] {
    this.#older = [];
    if (this.connections > 0) return ['connections that began before are not told from those that pass through us'];
    try {
      this.#older = this.#redirect.olderConnections(this.port);
      return [];
    } catch (thrown) {
      return [`connections that began before cannot be listed: ${AppError.from(thrown, 'BUG').message}`];
    }
  }

  /** No more connections for it. Those it has are revoked by `revoke`. */
  remove(subscription: Subscription): void {
    this.countPassed();
    this.#standings.remove(subscription);
    this.#stands();
    this.#settle();
  }

  /** Whether the target listens at the port. */
  targetListens(isListening: boolean): void {
    this.#isListening = isListening;
    this.#hasListened ||= isListening;
    this.#settle();
  }

  /** The target has listened here, does not any more, and nobody answers in its stead: its kernel is to say so, to probes first. */
  get isDown(): boolean {
    return !this.isIdle && this.#hasListened && !this.#isListening && this.#whole === undefined;
  }

  /** A port is ours while somebody steals from it, and with filters only while there is somebody to pass on to. */
  #settle(): void {
    const isWanted = !this.isIdle && !this.isDown;
    if (isWanted === this.#isTaken) return;
    if (isWanted) this.#redirect.take(this.port);
    else this.#redirect.giveBack(this.port);
    this.#isTaken = isWanted;
  }

  /** Its session is gone: requests in flight get their 502, and whole connections are cut. */
  revoke(subscription: Subscription): void {
    for (const connection of [...this.#connections]) connection.revoke(subscription);
  }

  /** The process is about to end. @returns whether an answer is due to somebody */
  retire(): boolean {
    return [...this.#connections].filter((connection) => connection.retire()).length > 0;
  }

  /** None of its connections is left, and none will come. */
  release(): void {
    socketPool().screens.close(this.#screen);
  }

  #stands(): void {
    this.#changesInForce++;
    this.#setScreen();
    this.#leases.stands(this.port, this.#standings.inForce, this.#standings.waiting);
  }

  #setScreen(): void {
    const { inForce } = this.#standings;
    const { texts, judge } = looksOf(inForce);
    socketPool().screens.set(this.#screen, texts, judge);
    const isPassedBy = judge !== undefined && !this.isIdle && !this.#hasIdentities && !isMarked(marksOf(inForce));
    this.#redirect.passBy(this.port, isPassedBy ? this.#screen : null);
  }

  /** What passed without being shown to the filters was wanted by none of those in force. */
  countPassed(): void {
    const count = socketPool().screens.takeCount(this.#screen);
    requestTotals.passed += count;
    const passed = BigInt(count);
    for (const { counters } of this.#standings.inForce) counters.notMatched += passed;
  }

  get #hasIdentities(): boolean {
    return this.#standings.inForce.some((one) => one.identities.length > 0);
  }

  /** Something of it is not plain, or has to be decided. */
  takeOver(arrival: NativeArrival): void {
    const { client, origin } = this.#redirect.takeOver(arrival);
    const { clientFd: fd, peer, local, isDialling } = arrival;
    let arrived: PoolEndpoint | undefined = origin;
    const connectOrigin = (): PoolEndpoint => {
      const first = arrived;
      arrived = undefined;
      return first ?? this.#redirect.dial({ fd, peer, local });
    };
    const way: Way = { client, connectOrigin, dropOrigin: () => undefined, tls: null };
    this.#relay({ fd, peer, local }, way, isDialling ? undefined : arrival);
  }

  accept(accepted: Accepted): void {
    if (this.#hasIdentities) this.#lookAt(accepted);
    else this.#give(accepted, plainWay(accepted, this.#redirect));
  }

  /** Some session has a certificate: what the connection is has to be seen first. */
  #lookAt(accepted: Accepted): void {
    // Whoever is in force when it has been seen gets it.
    const looking: OpenConnection = { revoke: () => undefined, retire: () => true };
    this.#connections.add(looking);
    const found = (act: (way: Way) => void) => (way: Way) => {
      act(way);
      this.#closed(looking);
    };
    new TlsIntake({
      accepted,
      redirect: this.#redirect,
      firstMs: firstHeadMsOf(this.#standings.inForce),
      choose: ({ serverName }) => this.#identityFor(serverName),
      onWay: found((way) => this.#give(accepted, way)),
      onSealed: found((way) => this.#giveSealed(accepted, way)),
      onClosed: () => this.#closed(looking),
    });
  }

  /** The certificate of who came first, of those that have one for the name. */
  #identityFor(serverName: string): Chosen | undefined {
    for (const { filter, identities } of this.#standings.inForce) {
      const identity = identities.find((one) => one.covers(serverName));
      if (identity !== undefined) return { identity, isWhole: filter === null };
    }
    return undefined;
  }

  #give(accepted: Accepted, way: Way): void {
    const whole = this.#whole;
    if (whole !== undefined) this.#takeWhole(accepted, whole, way);
    else if (this.isIdle) this.#join(way);
    else this.#relay(accepted, way);
  }

  #giveSealed(accepted: Accepted, way: Way): void {
    const whole = this.#whole;
    if (whole !== undefined) this.#takeWhole(accepted, whole, way);
    else this.#join(way);
  }

  get #whole(): Subscription | undefined {
    return this.#standings.inForce.find((one) => one.filter === null);
  }

  /** For what came while the port was stolen and is accepted when it is not any more: it is the target's. */
  passOn(accepted: Accepted): void {
    this.#join(plainWay(accepted, this.#redirect));
  }

  #join({ client, connectOrigin }: Way): void {
    let isBusy = (): boolean => true;
    const connection: OpenConnection = { revoke: () => undefined, retire: () => isBusy() };
    this.#connections.add(connection);
    isBusy = joinEndpoints(client, connectOrigin(), () => this.#closed(connection));
  }

  #closed(connection: OpenConnection): void {
    if (this.#connections.delete(connection)) this.#onConnectionClosed();
  }

  #takeWhole(accepted: Accepted, subscription: Subscription, { client, dropOrigin, tls }: Way): void {
    dropOrigin();
    const taken = subscription.owner.take(subscription, peerOf(accepted, tls));
    const connection: OpenConnection = {
      revoke: (over) => {
        if (over !== subscription) return;
        client.destroy();
        taken.destroy();
        this.#closed(connection);
      },
      retire: () => false,
    };
    this.#connections.add(connection);
    joinEndpoints(client, markedFor(subscription, taken), () => this.#closed(connection));
  }

  #relay(accepted: Accepted, { client, connectOrigin: dialOrigin, tls }: Way, arrived?: NativeArrival): void {
    const marks = marksOf(this.#standings.inForce);
    // The one that arrived is of the pool, and passes on what is on its way as it is.
    const isPlain = !isMarked(marks) || arrived !== undefined;
    const connectOrigin = isPlain ? dialOrigin : () => new MarkedAnswers(dialOrigin(), marks, 'target');
    const takers = new Map<Subscription, Taker>();
    const peer = peerOf(accepted, tls);
    const takerFor = (subscription: Subscription | undefined) =>
      subscription === undefined ? undefined : this.#takerOf(takers, subscription, peer);
    const decide = (request: FilteredRequest): Decision => {
      const wanted = this.#wantedBy(request);
      if (wanted !== 'body decides') return takerFor(wanted);
      // What it looked like is read while its bytes are there.
      const { lowerText, headerLines } = request;
      const kept: FilteredRequest = { method: request.method, target: request.target, lowerText, headerLines };
      return new Undecided(this.#bodyLimits(), (body) => takerFor(this.#wantedWithBody(kept, body)));
    };
    const onClosed = () => this.#closed(connection);
    let relay: Http1Relay | Http2Relay = new Http1Relay({
      client,
      connectOrigin,
      decide: decideOnce(socketPool(), this.#screen, decide),
      screen: this.#screen,
      firstHeadMs: firstHeadMsOf(this.#standings.inForce),
      onHttp2: ({ fromClient, fromOrigin, origin = connectOrigin() }) => {
        const next = new Http2Relay({
          client,
          origin,
          decide,
          standing: () => this.#changesInForce,
          onKnown: () => void this.#counted(this.#standings.inForce.length),
          screen: this.#screen,
          onClosed,
        });
        relay = next;
        next.push(fromClient, fromOrigin);
      },
      onClosed,
      arrived,
    });
    const connection: OpenConnection = {
      revoke: (subscription) => {
        const taker = takers.get(subscription);
        if (taker !== undefined) relay.revoke(taker);
      },
      retire: () => relay.retire(),
    };
    this.#connections.add(connection);
  }

  #wantedBy(request: FilteredRequest): Subscription | 'body decides' | undefined {
    for (const [index, { filter }] of this.#standings.inForce.entries()) {
      const isWanted = filter?.judge(request);
      if (isWanted === true) return this.#counted(index);
      if (isWanted === undefined && filter !== null) return 'body decides';
    }
    return this.#counted(this.#standings.inForce.length);
  }

  #wantedWithBody(request: FilteredRequest, body: RequestBody | null): Subscription | undefined {
    const first = this.#standings.inForce.findIndex((one) => one.filter?.judgeWithBody(request, body));
    return this.#counted(first === -1 ? this.#standings.inForce.length : first);
  }

  /** The subscription of this index, which those before it did not want. */
  #counted(index: number): Subscription | undefined {
    for (let passed = 0; passed < index; passed++) {
      (this.#standings.inForce[passed] as Subscription).counters.notMatched += 1n;
    }
    const wanted = this.#standings.inForce[index];
    if (wanted !== undefined) wanted.counters.requests += 1n;
    requestTotals[wanted === undefined ? 'passed' : 'matched'] += 1;
    return wanted;
  }

  #takerOf(takers: Map<Subscription, Taker>, subscription: Subscription, peer: TakenPeer): Taker {
    let taker = takers.get(subscription);
    if (taker === undefined) {
      const isOver = () => !this.#standings.inForce.includes(subscription);
      taker = {
        get isOver() {
          return isOver();
        },
        idleMs: subscription.http.idleMs,
        open: (isForRequests) =>
          markedFor(subscription, subscription.owner.take(subscription, { ...peer, isForRequests })),
      };
      takers.set(subscription, taker);
    }
    return taker;
  }

  #bodyLimits(): BodyLimits {
    const all = this.#standings.inForce.flatMap(({ filter }) => filter?.bodyLimits ?? []);
    return { bytes: Math.max(...all.map(({ bytes }) => bytes)), waitMs: Math.max(...all.map(({ waitMs }) => waitMs)) };
  }
}

/** As it came. */
function plainWay(accepted: Accepted, redirect: Redirect): Way {
  const connectOrigin = () => redirect.dial(accepted);
  return { client: new PoolEndpoint(accepted.fd), connectOrigin, dropOrigin: () => undefined, tls: null };
}

const peerOf = ({ peer, local }: Accepted, tls: TlsFacts | null): TakenPeer => ({
  peer: peer.address,
  peerPort: peer.port,
  local: local.address,
  localPort: local.port,
  tls,
});
