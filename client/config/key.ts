// The key of the session: templates use it, so it is known before the file is rendered. A file names it at its root,
// possibly by a template of its own, which knows no key.

import { type ConfigText, hasTemplate, parseDocument } from './document.ts';
import type { Overrides } from './resolve.ts';
import { isPlainObject } from './schema/values.ts';

export interface SessionKey {
  readonly value: string;
  /** Made up: a key that the file turns out to have comes first. */
  readonly isGenerated: boolean;
  /** Templates may have used it. */
  readonly isInTemplate: boolean;
}

const KEY_DIGITS = 5;

/** Flag before variable before file. A file that cannot be parsed before it is rendered gets a key that is made up. */
export async function chooseKey(
  source: ConfigText | null,
  context: { flags: Overrides; env: NodeJS.ProcessEnv; cwd: string },
): Promise<SessionKey> {
  const isInTemplate = source !== null && hasTemplate(source.text);
  const override = context.flags['MIRRORD_KEY'] ?? context.env['MIRRORD_KEY'];
  if (typeof override === 'string' && override !== '') return { value: override, isGenerated: false, isInTemplate };
  if (isInTemplate) {
    const inFile = await keyIn(source);
    if (inFile !== null && !hasTemplate(inFile)) return { value: inFile, isGenerated: false, isInTemplate };
    if (inFile !== null) {
      const { render } = await import('./template.ts');
      const value = await render(inFile, { ...context, key: null });
      return { value, isGenerated: false, isInTemplate };
    }
  }
  return { value: generatedKey(), isGenerated: true, isInTemplate };
}

async function keyIn(source: ConfigText): Promise<string | null> {
  try {
    const { value } = await parseDocument(source.text, source.format);
    return isPlainObject(value) && typeof value['key'] === 'string' && value['key'] !== '' ? value['key'] : null;
  } catch {
    // Not the time to complain: rendering may make it whole, and parsing the result says what is wrong.
    return null;
  }
}

/** Five lower-case hexadecimal digits: tells sessions apart, guards nothing. */
function generatedKey(): string {
  return Math.floor(Math.random() * 16 ** KEY_DIGITS)
    .toString(16)
    .padStart(KEY_DIGITS, '0');
}
