// The open files of one session, by the numbers its client knows them by. At the limit nothing more is opened (EMFILE);
// numbers are not given out again before all others have been, so that a late request never meets another file.

import { native, type OpenFile } from './native/index.ts';
import { Turns } from './turns.ts';
import type { Patience } from './wait-ready.ts';

export interface OpenHandle {
  readonly file: OpenFile;
  /** Order among the requests on it. */
  readonly turns: Turns;
  readonly patience: Patience;
}

const MAX_HANDLE = 0xffff_ffff;

export class Handles {
  readonly #limit: number;
  /** null: the number is taken for an open that has no answer yet. */
  readonly #handles = new Map<number, OpenHandle | null>();
  #last = 0;
  #isClosed = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#handles.size;
  }

  /** A number for a file about to be opened; null at the limit. `fill` must follow. */
  reserve(): number | null {
    if (this.#handles.size >= this.#limit) return null;
    do {
      this.#last = this.#last === MAX_HANDLE ? 1 : this.#last + 1;
    } while (this.#handles.has(this.#last));
    this.#handles.set(this.#last, null);
    return this.#last;
  }

  /** Tells what became of a reserved number; null: the open left no file. */
  fill(handle: number, file: OpenFile | null, mayWait = true): void {
    if (this.#isClosed) {
      if (file !== null) native.closeFile(file);
    } else if (file === null) {
      this.#handles.delete(handle);
    } else {
      this.#handles.set(handle, { file, turns: new Turns(), patience: { mayWait, hasHadWriter: false } });
    }
  }

  get(handle: number): OpenHandle | null {
    return this.#handles.get(handle) ?? null;
  }

  /** Closed when what was asked of it before is done; unknown from here on. */
  async close(handle: number): Promise<void> {
    const open = this.get(handle);
    if (open === null) return;
    this.#handles.delete(handle);
    await open.turns.enter(true);
    native.closeFile(open.file);
    open.turns.leave();
  }

  /** An operation under way keeps its file until it is done. */
  closeAll(): void {
    this.#isClosed = true;
    for (const open of this.#handles.values()) {
      if (open !== null) native.closeFile(open.file);
    }
    this.#handles.clear();
  }
}
