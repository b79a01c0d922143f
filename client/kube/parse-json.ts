// What answers as an API server, and is none: a login page, a proxy's own words.

import { AppError } from '#proto/errors.ts';

export function parseJson<T>(text: string, path: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new AppError(
      'PROTOCOL_VIOLATION',
      `${path}: what answers there is no Kubernetes API: its answer is no JSON`,
      {
        cause,
        data: {
          exitCode: 2,
          move: 'user',
          advice: 'check the server of the context, and whether a proxy answers in its place.',
        },
      },
    );
  }
}
