// `node scripts/compile.mjs SCRIPT CODE`: all functions of a script, compiled, as V8 keeps code (vm.Script, cachedData). V8
// takes it when version and flags are the same, and compiles anew when not.
import { readFileSync, writeFileSync } from 'node:fs';
import v8 from 'node:v8';
import { Script } from 'node:vm';

const [scriptFile, codeFile] = process.argv.slice(2);
// Otherwise only what is called while the script is loaded would be compiled. The flag is part of what V8 compares.
v8.setFlagsFromString('--no-lazy');
const script = new Script(readFileSync(scriptFile, 'latin1'), { filename: scriptFile });
v8.setFlagsFromString('--lazy');
writeFileSync(codeFile, script.createCachedData());
