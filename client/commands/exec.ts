// `mirrord exec`: configuration, agent, session, environment, local process, in this order; and everything put away again,
// last opened first, whatever happens in between.

import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { AppError } from '#proto/errors.ts';
import { WireFeature, WireTransport } from '#proto/wire.ts';
import { warnOfUnheard } from '../agent-variables.ts';
import type { ParsedArguments } from '../arguments.ts';
import type { Backend } from '../backend.ts';
import type { Config } from '../config/schema/root.ts';
import { findExecutable } from '../executable.ts';
import { describeFailure, isPlain } from '../failure.ts';
import type { FileRules } from '../file-rules.ts';
import type { FollowedTarget, FollowOptions } from '../follow-target.ts';
import { hostNameOf } from '../host-name.ts';
import type { Incoming } from '../incoming/incoming.ts';
import type { IncomingTls } from '../incoming/tls-files.ts';
import { agentFile, supervisorFile } from '../installation.ts';
import type { KubeApi } from '../kube/api.ts';
import { Log } from '../log.ts';
import type { RunSession } from '../moving-session.ts';
import type { Network } from '../network/network.ts';
import { Progress, parseProgressMode } from '../progress.ts';
import { sessionFacts } from '../sessions/facts.ts';
import { SessionRecord } from '../sessions/record.ts';
import { Signals } from '../signals.ts';
import { formatTarget, isLocal, parseTarget, type Target } from '../target.ts';
import { describeBackground, exit, type Outcome, type Terminal } from '../terminal.ts';
import { type Hooks, openSession, withProfile } from './exec-session.ts';

/** Marks the local process and its children, for the refusal of a run inside a run. */
const SESSION_MARK = 'MIRRORD_SESSION_ID';
/** What one answer of the session stream can carry (fs_env.proto, Open). */
const MAX_INLINE_BYTES = 256 * 1024;

export interface Run {
  readonly terminal: Terminal;
  readonly command: readonly string[];
  readonly config: Config;
  readonly target: Target;
  /** What the command's first word leads to. */
  readonly executable: string;
  readonly progress: Progress;
  readonly log: Log;
  readonly signals: Signals;
  /** Over which the profile was asked for; null: nobody was asked yet. */
  readonly api: KubeApi | null;
  /** What `mirrord session` knows of it, once it runs. */
  readonly record?: SessionRecord | null;
}

export async function exec(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const log = new Log({
    env: terminal.env,
    echo: args.flags['verbose'] === undefined ? undefined : (line) => terminal.err(line),
  });
  const signals = new Signals();
  const outcome = await outcomeOf(args, terminal, log, signals);
  // An exit code stays the local process's to the last: a signal that comes now would make it another.
  if (outcome.kind === 'signal') signals.close();
  return outcome;
}

async function outcomeOf(args: ParsedArguments, terminal: Terminal, log: Log, signals: Signals): Promise<Outcome> {
  try {
    const progress = openProgress(args, terminal);
    return await runWith(await prepare({ args, terminal, progress, log, signals }));
  } catch (thrown) {
    if (signals.ending !== null) return { kind: 'signal', signal: signals.ending };
    return fail(AppError.from(thrown, 'BUG'), terminal, log);
  }
}

function fail(error: AppError, terminal: Terminal, log: Log): Outcome {
  log.error('failed', { code: error.code, message: error.message, stack: stackOf(error) });
  const failure = describeFailure(error, isPlain(error.code) ? null : log.keep(), 'exec');
  terminal.err(failure.text);
  return exit(failure.exitCode);
}

/** Of the first cause: where it broke. Paths of ours and names, nothing of the target's. */
function stackOf(error: AppError): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  return cause.stack ?? '';
}

function openProgress({ flags }: ParsedArguments, terminal: Terminal): Progress {
  const flag = flags['progress'];
  const variable = terminal.env['MIRRORD_PROGRESS_MODE'];
  const mode =
    typeof flag === 'string'
      ? parseProgressMode(flag, '--progress')
      : parseProgressMode(variable || 'standard', 'MIRRORD_PROGRESS_MODE');
  return new Progress({ mode, isTty: terminal.isErrTty, write: (text) => terminal.err(text) });
}

/** All that can be wrong without anybody having been asked. */
async function prepare(given: {
  args: ParsedArguments;
  terminal: Terminal;
  progress: Progress;
  log: Log;
  signals: Signals;
}): Promise<Run> {
  const { args, terminal, progress, log, signals } = given;
  const { env, cwd } = terminal;
  if (env[SESSION_MARK]) {
    throw new AppError('CONFIG_INVALID', 'mirrord exec was called inside a process of mirrord exec', {
      data: { advice: 'run the command as it is: it has the environment and the files of the outer target.' },
    });
  }
  const [command] = args.words;
  if (command === undefined)
    throw new AppError('CONFIG_INVALID', 'a command is missing: mirrord exec -t TARGET -- COMMAND');
  const { loadConfig } = await import('../config/load.ts');
  const configFile = args.flags['config-file'];
  const { config, warnings } = await loadConfig({
    flags: args.overrides,
    ...(typeof configFile === 'string' ? { configFile } : {}),
    env,
    cwd,
  });
  for (const warning of warnings) progress.warn(warning);
  if (config.feature.network.incoming.mode === 'steal') {
    await (await import('../incoming/open-incoming.ts')).checkIncomingTls(config, cwd);
  }
  const target = parseTarget(config.target.path ?? (await askForTarget(config, terminal, signals)));
  const executable = requireExecutable(command, pathAfterOverrides(config, env), cwd);
  const parts = { terminal, target, executable, progress, log, signals };
  return { ...parts, command: args.words, ...(await withProfile(target, config, terminal, signals)) };
}

async function askForTarget(config: Config, terminal: Terminal, signals: Signals): Promise<string> {
  const { chooseTarget } = await import('./choose-target.ts');
  return chooseTarget(config, terminal, signals.abortSignal);
}

function pathAfterOverrides(config: Config, env: NodeJS.ProcessEnv): string {
  const overridden = config.feature.env.override.find(([name]) => name === 'PATH');
  return overridden?.[1] ?? env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
}

function requireExecutable(command: string, searchPath: string, cwd: string): string {
  const found = findExecutable(command, searchPath, cwd);
  if (found.kind === 'found') return found.path;
  const advice =
    found.kind === 'not-executable'
      ? `chmod +x ${found.path}, or name the program that reads it before it.`
      : 'name a program of this machine: COMMAND runs here, not in the target.';
  const [what, exitCode] =
    found.kind === 'not-found'
      ? [`${command}: command not found`, 127]
      : [`${found.path}: ${found.kind === 'folder' ? 'is a folder' : 'not executable'}`, 126];
  throw new AppError('CONFIG_INVALID', what, { data: { exitCode, advice } });
}

/** What a session needs, gRPC above all: loaded while the agent starts. */
async function loadParts() {
  const [{ dial }, { Session }, { launch }, { Files }, { FileRules }, { buildEnvironment }, ...others] =
    await Promise.all([
      import('#proto/dial.ts'),
      import('../session.ts'),
      import('../launch.ts'),
      import('../layer/files.ts'),
      import('../file-rules.ts'),
      import('../environment.ts'),
      import('../network/open-network.ts'),
      import('../network/name-files.ts'),
      import('../incoming/open-incoming.ts'),
      import('../follow-target.ts'),
      import('../layer/kernel-answers.ts'),
      import('../volumes.ts'),
    ]);
  const [network, names, incoming, follow, { KernelAnswers }, { withVolumes }] = others;
  const files = { Files, FileRules, KernelAnswers, withVolumes };
  return { dial, Session, launch, ...files, buildEnvironment, ...network, ...names, ...incoming, ...follow };
}

export type Parts = Awaited<ReturnType<typeof loadParts>>;

async function runWith(run: Run): Promise<Outcome> {
  const { progress, log, signals, target } = run;
  const loading = loadParts();
  loading.catch(() => {});
  const backend = await reach(run, loading);
  let followed: FollowedTarget | null = null;
  let record: SessionRecord | null = null;
  const onGone = (reason: string) => followed?.gone(reason) ?? false;
  try {
    const parts = await loading;
    const session = await progress.step(
      `opening a session with ${formatTarget(target)}`,
      () => openSession(run, backend, parts, { onGone }),
      (opened) => `session with ${formatTarget(target)} (process ${opened.facts.pid})`,
    );
    log.info('session opened');
    followed = new parts.FollowedTarget({ backend, session }, { ...run, open: openNext(run, loading, onGone) });
    signals.announceStopsTo(followed.session);
    if (backend.onOpened !== undefined) progress.info(await backend.onOpened(session));
    const facts = sessionFacts(formatTarget(target), run.config);
    record = SessionRecord.open(run.terminal.env, session.sessionId, facts, backend.tellPorts);
    const config = parts.withVolumes(run.config, backend.mounts ?? [], ruleContext(run), progress);
    return await runProcess({ ...run, config, record }, followed.session, backend.folder, parts);
  } catch (error) {
    log.attach('agent', await (followed ?? backend).agentLog());
    throw error;
  } finally {
    if (followed !== null) log.info('session ends', followed.session.requestsByKind);
    const by = record?.stoppedBy ?? null;
    if (by !== null) progress.failure(`the session was ended by ${by}, with mirrord session stop`);
    record?.close();
    await (followed ?? backend).close();
  }
}

/** While the local process has the terminal: what goes wrong is told by who asked. */
function openNext(run: Run, loading: Promise<Parts>, onGone: Hooks['onGone']): FollowOptions['open'] {
  return async (lastId, except, signal) => {
    const quiet = { ...run, progress: new Progress({ mode: 'off', isTty: false, write: () => {} }) };
    const backend = await reach(quiet, loading, { except, signal });
    try {
      const session = await openSession(run, backend, await loading, { onGone, lastId });
      await backend.onOpened?.(session);
      return { backend, session };
    } catch (error) {
      await backend.close();
      throw error;
    }
  };
}

/** An agent of this machine, or one beside a target in a cluster. */
async function reach(
  run: Run,
  loading: Promise<Parts>,
  again: { except: string | null; signal: AbortSignal } | null = null,
): Promise<Backend> {
  const { progress, log, signals, terminal, target, config } = run;
  const common = { env: terminal.env, log, signal: again?.signal ?? signals.abortSignal };
  if (again === null) warnOfUnheard(terminal.env, isLocal(target), progress);
  if (isLocal(target)) {
    const { reachBackend } = await import('../backend.ts');
    return progress.step(
      terminal.env['MIRRORD_AGENT_ADDRESS'] ? 'looking for the agent' : 'starting the agent',
      () => reachBackend({ ...common, target, embedded: { agentFile: agentFile(), agent: config.agent } }),
      ({ isEmbedded }) => (isEmbedded ? 'agent started' : 'agent known'),
    );
  }
  const { reachCluster } = await import('../cluster-backend.ts');
  const { networkFeatures } = await loading;
  const { mode } = config.feature.network.incoming;
  // fs-env reads the environment too.
  const features = {
    files: true,
    network: networkFeatures(config) !== 0,
    mirror: mode !== 'off',
    steal: mode === 'steal',
  };
  const isInteractive = terminal.isErrTty && again === null;
  const ofRun = again === null ? { api: run.api } : { except: again.except };
  return reachCluster({ ...common, target, config, features, progress, isInteractive, ...ofRun });
}

async function runProcess(run: Run, session: RunSession, folder: string | null, parts: Parts): Promise<Outcome> {
  const { fs, network } = run.config.feature;
  const rules = parts.FileRules.compile(fs, ruleContext(run));
  const nameFiles = network.dns.enabled
    ? parts.writeNameFiles(
        folder,
        run.terminal.env,
        session.facts,
        (path) => rules.isReadOnlyCopy(path),
        run.config.agent.dns,
      )
    : null;
  try {
    return await runWithFiles(run, session, parts, rules.withNameFiles(nameFiles?.files ?? []));
  } finally {
    nameFiles?.remove();
  }
}

function ruleContext({ terminal: { env, cwd }, executable }: Run) {
  return { home: env['HOME'] ?? '', cwd, tmp: env['TMPDIR'] || tmpdir(), executable };
}

async function runWithFiles(run: Run, session: RunSession, parts: Parts, rules: FileRules): Promise<Outcome> {
  const { config, terminal, progress, signals, log } = run;
  const { launch, Files, KernelAnswers } = parts;
  const { fs } = config.feature;
  const hostName = hostNameOf(config.feature.hostname ? session.facts.hostname : new Uint8Array());
  const inlineBytes = Math.min(fs.readonly_file_buffer, MAX_INLINE_BYTES);
  const env = await localEnvironment(run, session, parts);
  const onTrouble = (text: string) => progress.warn(text);
  const tls = await parts.loadIncomingTls(config, { session, cwd: terminal.cwd, onTrouble });
  const incoming = incomingOf(run, session, tls, parts);
  const network = networkOf(run, session, parts, incoming);
  signals.abortSignal.throwIfAborted();
  const outcome = await launch({
    supervisorFile: supervisorFile(terminal.env),
    command: run.command,
    env,
    cwd: terminal.cwd,
    setup: {
      features:
        rules.features() |
        parts.networkFeatures(config) |
        parts.incomingFeatures(config) |
        (hostName.length > 0 ? WireFeature.HOST_NAME : 0),
      inlineBytes,
      hostName,
      rules: rules.toWire(),
    },
    files: new Files({ session, rules, inlineBytes, kernel: KernelAnswers.open() }),
    network,
    incoming,
    signals,
    log,
    onReady: (lines) => {
      for (const line of lines) progress.warn(line);
      progress.ready();
    },
    onBackground: (ended, left) => progress.info(describeBackground(ended, left)),
    onTrouble,
  });
  await network?.finish();
  if (network !== null) log.info('network ends', { lostDatagrams: network.lostDatagrams });
  if (incoming !== null) await tellArrived(incoming, progress);
  return outcome;
}

function incomingOf(
  { config, progress, log, record }: Run,
  session: RunSession,
  tls: IncomingTls | null,
  { openIncoming }: Parts,
): Incoming | null {
  return openIncoming({
    config,
    session,
    tls,
    onPort: (port, lease) => record?.addPort(port, lease),
    onNews: (text) => {
      progress.info(`mirrord: ${text}`);
      log.info('incoming', { text });
    },
    onTrouble: (text) => {
      progress.warn(text);
      log.warn('incoming', { text });
    },
  });
}

/** What was mirrored, and what was lost for which reason. */
async function tellArrived(incoming: Incoming, progress: Progress): Promise<void> {
  await incoming.finish();
  for (const line of incoming.tally.lines()) progress.info(`mirrord: ${line}`);
}

function networkOf(
  run: Run,
  session: RunSession,
  { networkFeatures, openNetwork }: Parts,
  incoming: Incoming | null,
): Network | null {
  const { config, progress, log } = run;
  if (networkFeatures(config) === 0) return null;
  const onTrouble = (error: AppError) => {
    progress.warn(error.message);
    log.warn('connection refused', { code: error.code, message: error.message });
  };
  const movedListener = (port: number, transport: WireTransport) =>
    transport === WireTransport.TCP ? (incoming?.movedListener(port) ?? null) : null;
  const { network, warnings } = openNetwork({ config, session, facts: session.facts, onTrouble, movedListener });
  for (const warning of warnings) progress.warn(warning);
  return network;
}

async function localEnvironment(
  run: Run,
  session: RunSession,
  { buildEnvironment }: Parts,
): Promise<Record<string, string>> {
  const { terminal, config, progress } = run;
  const { env, warnings } = await buildEnvironment({
    remote: session.facts.environment,
    local: withoutOurs(terminal.env),
    config: config.feature.env,
    readEnvFile: (path: string) => readFile(path, 'utf8'),
  });
  for (const warning of warnings) progress.warn(warning);
  return { ...env, [SESSION_MARK]: session.sessionId };
}

/** The agent's address and key file are the client's business, and nobody else's. */
function withoutOurs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^MIRRORD_(?:AGENT_|SUPERVISOR_)/.test(name)));
}
