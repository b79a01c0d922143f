// The version of the package and of what is spoken on a session. The bundler writes the first in, so that no process need
// read package.json.

declare const MIRRORD_VERSION: string | undefined;

export const VERSION: string = typeof MIRRORD_VERSION === 'string' ? MIRRORD_VERSION : '0.0.0-source';

/** Of the frames and messages on the session stream; the agent refuses one it does not speak, naming both. */
export const PROTOCOL_VERSION = 1;
