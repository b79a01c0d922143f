// V8 makes a function faster after it has run for a moment, which costs more than most commands live to win back: a tenth of a
// second of another core for the first second of bulk. It waits for four times as long here.

import { setFlagsFromString } from 'node:v8';

/** Bytes of bytecode run before V8 looks at a function; its own is 132 KiB. */
const INTERRUPT_BUDGET = 4 * 132 * 1024;

/** Once what a start needs is loaded: V8 does not take compiled code that was made under other flags. */
export function compileLater(): void {
  setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET}`);
}
