// Turns at one thing: requests that change it come one at a time and in the order in which they were asked for, those that
// only look share a turn with each other.

export class Turns {
  #sharing = 0;
  #isTaken = false;
  readonly #waiting: { isAlone: boolean; start: () => void }[] = [];

  /** Resolves when it is the caller's turn; `leave` must follow. Order of arrival is kept, also between the two kinds. */
  enter(isAlone: boolean): Promise<void> {
    if (this.#waiting.length === 0 && this.#mayStart(isAlone)) {
      this.#take(isAlone);
      return Promise.resolve();
    }
    return new Promise((start) => this.#waiting.push({ isAlone, start }));
  }

  leave(): void {
    if (this.#isTaken) this.#isTaken = false;
    else this.#sharing -= 1;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#mayStart(next.isAlone)) return;
      this.#waiting.shift();
      this.#take(next.isAlone);
      next.start();
    }
  }

  #mayStart(isAlone: boolean): boolean {
    return !this.#isTaken && (!isAlone || this.#sharing === 0);
  }

  #take(isAlone: boolean): void {
    if (isAlone) this.#isTaken = true;
    else this.#sharing += 1;
  }
}
