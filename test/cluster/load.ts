// Requests without a pause from a pod of the other node, by somebody who is in no session.

import { spawn } from 'node:child_process';
import { Run, type TestNamespace } from './cluster.ts';

/** Asks until its input ends; says how many failed, and within how long. */
const ASK = `
import sys, threading, time, urllib.request
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
answered = 0
failed = []
while not over.is_set():
    try:
        body = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={'x-user': 'carol'}), timeout=30).read()
        answered += 1
        if b'"path":"/x"' not in body: failed.append(time.monotonic())
        if answered == 1: print('begun', flush=True)
    except Exception: failed.append(time.monotonic())
print('answered', answered, 'failed', len(failed), 'within', round((failed[-1] - failed[0]) * 1000) if failed else 0, 'ms', flush=True)
`;

export class Load {
  readonly #run: Run;

  private constructor(run: Run) {
    this.#run = run;
  }

  /** From `deploy/stock` to the service `shop`. */
  static async start(namespace: TestNamespace): Promise<Load> {
    const url = namespace.url('shop', 'x');
    const words = ['-n', namespace.name, 'exec', '-i', 'deploy/stock', '--', 'python3', '-c', ASK, url];
    const run = new Run(spawn('kubectl', words, { stdio: 'pipe' }));
    await run.says('stdout', /begun/);
    return new Load(run);
  }

  /** @returns how many were answered, and between the first that failed and the last how much time was */
  async end(): Promise<{ answered: number; failed: number; withinMs: number }> {
    this.#run.child.stdin.end();
    const said = await this.#run.says('stdout', /answered (\d+) failed (\d+) within (\d+) ms/);
    const [answered = 0, failed = 0, withinMs = 0] = said.slice(1).map(Number);
    return { answered, failed, withinMs };
  }
}
