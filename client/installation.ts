// Where the parts of this build are. The bundle in dist/ and the sources in client/ lie at one depth, so that both find
// the same.

import { fileURLToPath } from 'node:url';

const ROOT = new URL('../', import.meta.url);

export function agentFile(): string {
  return fileURLToPath(new URL('dist/agent.js', ROOT));
}

export function supervisorFile(env: NodeJS.ProcessEnv): string {
  return env['MIRRORD_SUPERVISOR_FILE'] || fileURLToPath(new URL('layer/bin/mirrord-supervisor', ROOT));
}
