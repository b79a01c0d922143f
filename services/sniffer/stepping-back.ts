// The target comes first. Our threads have a low priority, which counts among those of one session (sched(7), autogroup): so the
// sniffer has a session of its own, whose group has the same low priority. And while there is not CPU enough for both it
// gets what the target leaves and hardly more; what the copy then loses is told. Containers have weights of their own instead.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { native } from './native/index.ts';

const GROUP_FILE = '/proc/self/autogroup';
const LOOK_EVERY_MS = 1_000;
/** Where CPU is short: 3 % of a core beside one other group. Less, and in a crowd nobody would hear that the sniffer lives. */
const LAST = 16;
/** Of the time: who takes less is in nobody's way, however busy the machine is. */
const BUSY_SHARE = 0.03;
/** Of the time, spent waiting for a CPU. */
const WAITING_SHARE = 0.2;
/** Looks in a row that find CPU to spare, before it takes its usual place again. */
const CALM_LOOKS = 3;
/** Whoever opens, subscribes or wants a sum is answered from a place like anybody's, also where CPU is short. */
const ANSWERING_MS = 1_500;
const ANYBODYS = 0;

export interface CpuTimes {
  /** Of all threads since they began. */
  readonly ranNs: number;
  /** Ready to run, while somebody else did. */
  readonly waitedNs: number;
}

/** Whether the last place is ours, from look to look. Pure. */
export class Contention {
  #last: CpuTimes | null = null;
  #lastMs = 0;
  #calm = CALM_LOOKS;
  #answeringUntilMs = 0;

  isAnswering(nowMs: number): boolean {
    return nowMs < this.#answeringUntilMs;
  }

  /** Somebody waits for an answer. */
  answer(nowMs: number): void {
    this.#answeringUntilMs = nowMs + ANSWERING_MS;
    this.#calm = CALM_LOOKS;
  }

  look({ ranNs, waitedNs }: CpuTimes, nowMs: number): boolean {
    const before = this.#last;
    const passedNs = (nowMs - this.#lastMs) * 1e6;
    this.#last = { ranNs, waitedNs };
    this.#lastMs = nowMs;
    if (before === null || passedNs <= 0) return false;
    // A thread that ended takes its times with it.
    const ran = Math.max(0, ranNs - before.ranNs) / passedNs;
    const isWaiting = Math.max(0, waitedNs - before.waitedNs) / passedNs > WAITING_SHARE;
    if (this.isAnswering(nowMs)) return false;
    if (isWaiting && (ran > BUSY_SHARE || this.isContended)) this.#calm = 0;
    else this.#calm += 1;
    return this.isContended;
  }

  get isContended(): boolean {
    return this.#calm < CALM_LOOKS;
  }
}

/** The answer is to be called when somebody waits for one. Throws what the kernel says of a priority that we may not have. */
export function stepBack(nice: number): () => void {
  for (const thread of threads()) {
    try {
      if (getPriority(thread) < nice) setPriority(thread, nice);
    } catch (error) {
      // It has ended meanwhile.
      if ((error as { info?: { code?: string } }).info?.code !== 'ESRCH') throw error;
    }
  }
  // Somebody else's session: its group is not ours to move.
  if (!native.ownSession() || !placeGroup(ANYBODYS)) return () => undefined;
  const contention = new Contention();
  let place = ANYBODYS;
  const take = (wanted: number) => {
    if (wanted !== place && placeGroup(wanted)) place = wanted;
  };
  const look = () => {
    const nowMs = performance.now();
    const isInTheWay = contention.look(times(), nowMs);
    if (contention.isAnswering(nowMs)) take(ANYBODYS);
    else take(isInTheWay ? Math.max(LAST, nice) : nice);
  };
  setInterval(look, LOOK_EVERY_MS).unref();
  const answer = () => {
    contention.answer(performance.now());
    take(ANYBODYS);
  };
  answer();
  return answer;
}

/** False where the kernel has no such groups, or has heard it too often for now. */
function placeGroup(nice: number): boolean {
  try {
    writeFileSync(GROUP_FILE, String(nice));
    return true;
  } catch {
    return false;
  }
}

function times(): CpuTimes {
  let ranNs = 0;
  let waitedNs = 0;
  for (const thread of threads()) {
    try {
      const [ran, waited] = readFileSync(`/proc/self/task/${thread}/schedstat`, 'latin1').split(' ');
      ranNs += Number(ran);
      waitedNs += Number(waited);
    } catch (error) {
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return { ranNs, waitedNs };
}

function threads(): number[] {
  return readdirSync('/proc/self/task').map(Number);
}
