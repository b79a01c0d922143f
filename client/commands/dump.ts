// `mirrord dump`: shows the traffic of ports of a target as it comes, a copy; the target does not notice. Ends by Ctrl-C, or
// when the target does, and says then what was seen and what was lost.

import { ReceiveCredit } from '#proto/credits.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { Credit, FrameKind } from '#proto/gen/v1/frame.ts';
import { Arrived, Ended, Gap } from '#proto/gen/v1/incoming.ts';
import { INCOMING_CONNECTION_BYTES } from '#proto/incoming.ts';
import { decodeHead } from '#proto/session-stream.ts';
import type { ParsedArguments } from '../arguments.ts';
import type { Backend } from '../backend.ts';
import type { Config } from '../config/schema/root.ts';
import { describeFailure, isPlain } from '../failure.ts';
import { renewedLines, waitingText } from '../incoming/older-text.ts';
import { PortPolicy } from '../incoming/port-policy.ts';
import { PortSubscription } from '../incoming/port-subscription.ts';
import { Tally } from '../incoming/tally.ts';
import { agentFile } from '../installation.ts';
import { Log } from '../log.ts';
import { Progress } from '../progress.ts';
import type { Session } from '../session.ts';
import { formatTarget, isLocal, parseTarget } from '../target.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';
import { eventJson, eventText } from './dump-print.ts';
import { ConnectionView, type DumpEvent } from './dump-view.ts';

const OPEN_DEADLINE_MS = 15_000;

export async function dump(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const log = new Log({ env: terminal.env, echo: undefined });
  try {
    const ports = readPorts(args);
    const config = await readConfig(args, terminal);
    const end = new EndOfDump();
    try {
      const backend = await reach(config, terminal, log, end.signal);
      try {
        return await show({ args, terminal, ports, end, config }, backend);
      } finally {
        await backend.close();
      }
    } finally {
      end.close();
    }
  } catch (thrown) {
    const error = AppError.from(thrown, 'BUG');
    const failure = describeFailure(error, isPlain(error.code) ? null : log.keep(), 'dump');
    terminal.err(failure.text);
    return exit(failure.exitCode);
  }
}

/** Ctrl-C, SIGTERM, or the target's own end. */
class EndOfDump {
  readonly #abort = new AbortController();
  readonly #handler = () => this.#abort.abort();

  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, this.#handler);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  now(): void {
    this.#abort.abort();
  }

  come(): Promise<void> {
    if (this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  close(): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, this.#handler);
  }
}

/** An agent of this machine, or one beside a target in a cluster. */
async function reach(config: Config, terminal: Terminal, log: Log, signal: AbortSignal): Promise<Backend> {
  const target = parseTarget(config.target.path ?? '');
  const common = { env: terminal.env, log, signal };
  if (isLocal(target)) {
    const { reachBackend } = await import('../backend.ts');
    return reachBackend({
      ...common,
      target,
      embedded: { agentFile: agentFile(), agent: { ...config.agent, metrics: null } },
    });
  }
  const { reachCluster } = await import('../cluster-backend.ts');
  const progress = new Progress({ mode: 'simple', isTty: false, write: (text) => terminal.err(text) });
  const features = { files: false, network: false, mirror: true, steal: false };
  return reachCluster({ ...common, target, config, features, progress, isInteractive: terminal.isErrTty });
}

interface Dump {
  readonly args: ParsedArguments;
  readonly terminal: Terminal;
  readonly ports: readonly number[];
  readonly end: EndOfDump;
  readonly config: Config;
}

async function show(dump: Dump, backend: Backend): Promise<Outcome> {
  const { terminal, end, args } = dump;
  const { target } = backend;
  const say = (text: string) => terminal.err(`mirrord: ${text}\n`);
  const [{ dial }, { Session }] = await Promise.all([import('#proto/dial.ts'), import('../session.ts')]);
  let lost: AppError | null = null;
  const session = await Session.open({
    dial,
    address: backend.address,
    token: backend.token,
    ...(backend.proof === undefined ? {} : { proof: backend.proof }),
    ...(backend.connect === undefined ? {} : { connect: backend.connect }),
    target,
    wantsEnvironment: false,
    wantsFiles: false,
    wantsIncoming: true,
    deadlineMs: OPEN_DEADLINE_MS,
    onEvent: (event) => {
      if (event.$case === 'targetEnded') {
        say('the target has ended');
        end.now();
      } else say(`the ${event.value.service} was ${event.$case === 'serviceLost' ? 'lost' : 'found again'}`);
    },
    onLost: (error) => {
      lost = error;
      end.now();
    },
  });
  try {
    const traffic = new Traffic(session, (event) =>
      terminal.out(args.flags['json'] ? eventJson(event) : eventText(event)),
    );
    await traffic.subscribe(dump.ports, dump.config.feature.network.incoming.renew_connections, say);
    const policy = new PortPolicy(dump.config.feature.network.incoming);
    const filtered = dump.ports.filter((port) => policy.filterFor(port) !== undefined);
    if (filtered.length > 0) say(`http_filter has no say here: all that comes to port ${filtered.join(', ')} is shown`);
    say(`showing ${formatTarget(target)}, ports ${dump.ports.join(', ')}; Ctrl-C ends it`);
    await end.come();
    await traffic.finish();
    if (args.flags['json']) terminal.out(`${JSON.stringify({ event: 'summary', ports: traffic.tally.summary() })}\n`);
    for (const line of traffic.tally.lines('seen')) say(line);
  } finally {
    await session.close();
  }
  if (lost !== null) throw lost;
  return exit(0);
}

/** The connections of all subscribed ports. */
class Traffic {
  readonly tally = new Tally();
  readonly #session: Session;
  readonly #emit: (event: DumpEvent) => void;
  readonly #ports = new Map<number, PortSubscription>();
  readonly #open = new Map<number, { view: ConnectionView; port: number; credit: ReceiveCredit }>();
  #connections = 0;

  constructor(session: Session, emit: (event: DumpEvent) => void) {
    this.#session = session;
    this.#emit = emit;
    session.arrivals = (frame) => this.#receive(frame);
  }

  /** Throws what the agent says when a port cannot be shown. */
  async subscribe(ports: readonly number[], renewsOlder: boolean, say: (text: string) => void): Promise<void> {
    for (const port of ports) {
      const subscription = new PortSubscription({
        session: this.#session,
        port,
        mode: 'mirror',
        filter: undefined,
        withAnswers: true,
        renewsOlder,
        onSubscribed: (subscribed) => {
          for (const note of subscribed.notes) say(`port ${port}: ${note}`);
          if (subscribed.olderConnections > 0) say(`port ${port}${waitingText(subscribed)}`);
        },
        onRenewed: (renewed) => {
          for (const line of renewedLines(port, renewed)) say(line);
        },
        onRefused: (error) => say(`port ${port}: ${error.message}`),
        onLosses: () => undefined,
        onEnded: (counters) => this.tally.ended(port, subscription.id, counters),
        onUntold: (losses) => this.tally.untold(port, subscription.id, losses),
      });
      this.#ports.set(subscription.id, subscription);
    }
    for (const subscription of this.#ports.values()) {
      const error = await subscription.answered();
      if (error !== null) throw error;
    }
  }

  async finish(): Promise<void> {
    for (const id of this.#open.keys()) this.#session.send(makeFrame(id, FrameKind.FRAME_KIND_RESET));
    await Promise.all([...this.#ports.values()].map((subscription) => subscription.end()));
  }

  #receive(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_ARRIVED) {
      this.#arrived(frame);
      return;
    }
    const open = this.#open.get(frame.id);
    if (open === undefined) return;
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_DATA:
        this.#data(frame, 'request');
        return;
      case FrameKind.FRAME_KIND_ANSWER:
        if (frame.data.length === 0) open.view.halfClose('response');
        else this.#data(frame, 'response');
        return;
      case FrameKind.FRAME_KIND_HALF_CLOSE:
        open.view.halfClose('request');
        return;
      case FrameKind.FRAME_KIND_GAP:
        open.view.gap(decodeHead(Gap.decode, frame.head));
        return;
      case FrameKind.FRAME_KIND_ENDED:
        this.#open.delete(frame.id);
        open.view.end(decodeHead(Ended.decode, frame.head));
    }
  }

  #arrived(frame: Frame): void {
    const arrived = decodeHead(Arrived.decode, frame.head);
    const port = this.#ports.get(arrived.subscription)?.port;
    if (port === undefined) throw new AppError('PROTOCOL_VIOLATION', `connection of ${arrived.subscription}`);
    this.tally.arrived(port);
    this.#connections += 1;
    const view = new ConnectionView(this.#connections, arrived, this.#emit, () => performance.now());
    this.#open.set(frame.id, { view, port, credit: new ReceiveCredit(INCOMING_CONNECTION_BYTES) });
    if (frame.data.length > 0) this.#data(frame, 'request');
  }

  #data({ id, data }: Frame, of: 'request' | 'response'): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    open.credit.received(data.length);
    this.tally.delivered(open.port, data.length);
    open.view.data(of, data);
    const bytes = open.credit.consumed(data.length);
    if (bytes > 0) this.#session.send(makeFrame(id, FrameKind.FRAME_KIND_CREDIT, Credit.encode({ bytes }).finish()));
  }
}

async function readConfig(args: ParsedArguments, terminal: Terminal): Promise<Config> {
  const { loadConfig } = await import('../config/load.ts');
  const configFile = args.flags['config-file'];
  const { config } = await loadConfig({
    flags: args.overrides,
    ...(typeof configFile === 'string' ? { configFile } : {}),
    env: terminal.env,
    cwd: terminal.cwd,
  });
  if (config.target.path === null) {
    throw new AppError('CONFIG_INVALID', 'a target is missing: mirrord dump -t pid/N -p PORT');
  }
  return config;
}

function readPorts({ flags, words }: ParsedArguments): number[] {
  if (words.length > 0) throw new AppError('CONFIG_INVALID', 'dump takes no words; ports are named by -p');
  const text = flags['ports'];
  if (typeof text !== 'string') throw new AppError('CONFIG_INVALID', 'a port is missing: mirrord dump -t TARGET -p 80');
  const ports = text.split(/[,;\s]+/).filter(Boolean);
  for (const port of ports) {
    if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
      throw new AppError('CONFIG_INVALID', `--ports names ${JSON.stringify(port)}, which is no port`);
    }
  }
  return [...new Set(ports.map(Number))];
}
