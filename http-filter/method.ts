// Names of methods in filters.

import { AppError } from '#proto/errors.ts';

/**
 * @param where the key that the user wrote it in, for messages
 * @returns in upper case
 * @throws AppError CONFIG_INVALID when no request could have it (RFC 9110 section 5.6.2)
 */
export function readMethod(name: string, where: string): string {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return name.toUpperCase();
  throw new AppError(
    'CONFIG_INVALID',
    `${where}: ${JSON.stringify(name)} is no name of a method; write one such as GET`,
  );
}
