// A socket in memory: what it was given waits in `held` until `release`.

import { Duplex } from 'node:stream';

export class HeldSocket extends Duplex {
  readonly held: (() => void)[] = [];

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    this.held.push(done);
  }

  release(): void {
    for (let done = this.held.shift(); done !== undefined; done = this.held.shift()) done();
  }
}
