// A target with a network of its own, and a local process under `mirrord exec` that mirrors it: what cases of mirrors share.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, type Run, until } from '../integration/exec-harness.ts';

export const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

/** What `run` says in lines that begin so. */
export const linesOf = (run: Run, beginning: string): string[] =>
  run
    .stdout()
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith(beginning));

/** Lines that tell of losses: a failure shows them. */
export const lossesIn = (said: string): string[] => said.split('\n').filter((line) => line.includes('lost'));

export class MirrorStage {
  readonly network: TargetNetwork;
  #harness: ExecHarness | null = null;

  private constructor(network: TargetNetwork) {
    this.network = network;
  }

  static async open(): Promise<MirrorStage> {
    return new MirrorStage(await startNetwork());
  }

  /** Of the run that is under way. */
  get harness(): ExecHarness {
    if (this.#harness === null) throw new Error('nothing runs');
    return this.#harness;
  }

  /** Resolves when the ports are mirrored. */
  async exec(command: readonly string[], ports: readonly (number | string)[], incoming: unknown = 'mirror') {
    this.#harness?.close();
    this.#harness = new ExecHarness();
    const config = path.join(this.#harness.folder, 'mirrord.json');
    const feature = { network: { incoming, outgoing: false, dns: false }, fs: 'local' };
    writeFileSync(config, JSON.stringify({ feature }));
    const run = this.#harness.start(['exec', '-t', `pid/${this.network.target.pid}`, '-f', config, '--', ...command]);
    for (const port of ports) await run.complained(`mirroring port ${port}`);
    return run;
  }

  beyond(command: string): Promise<string> {
    return this.network.run(this.network.beyond, command);
  }

  /** Resolves when so many lines of `run` begin so. */
  async hears(run: Run, beginning: string, count: number): Promise<string[]> {
    await until(
      () => `${linesOf(run, beginning).length} of ${count} "${beginning}" here: ${run.stdout().slice(-400)}`,
      () => linesOf(run, beginning).length >= count,
      60_000,
    );
    return linesOf(run, beginning);
  }

  /** @returns what it complained of; nothing of it is left */
  async stop(run: Run): Promise<string> {
    run.child.kill('SIGTERM');
    const { stderr } = await run.outcome;
    await this.harness.leavesNothing();
    return stderr;
  }

  async stopWhole(run: Run): Promise<string> {
    const said = await this.stop(run);
    expect(lossesIn(said)).toEqual([]);
    return said;
  }

  /** Also where a case has failed. */
  endRun(): void {
    this.#harness?.close();
    this.#harness = null;
  }

  async close(): Promise<void> {
    this.endRun();
    await this.network[Symbol.asyncDispose]();
  }
}
