// The questions of questions.c, asked by Node: fs.promises runs on libuv's threads, the rest on the main thread.
import { readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

const folder = process.argv[2];
console.log(`env=${process.env.SHOP_MODE ?? ''}`);
console.log(`text=${(await readFile(`${folder}/hello.txt`, 'utf8')).trim()}`);
const stat = statSync(`${folder}/hello.txt`);
console.log(`stat=${stat.size} ${(stat.mode & 0o7777).toString(8)} ${Math.floor(stat.mtimeMs / 1000)}`);
console.log(`list=${readdirSync(folder).sort().join(',')}`);
const missing = await readFile(`${folder}/missing.txt`).catch((error) => error);
console.log(`missing=${-missing.errno}`);
