// Servers as distributions ship them, each in the namespace beyond the target if nothing else is said, with data, keys and port of
// its own.

import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { BEYOND, type TargetNetwork } from '../fixtures/network.ts';
import type { RunningTarget } from '../fixtures/target.ts';
import { type Stage, TARGET } from './stage.ts';

export const SQL = { port: 5432, user: 'shop', password: 'a-password-of-the-test', database: 'postgres' };
export const STORE_PORT = 6379;
export const BUS_PORT = 4222;
export const SHELL_PORT = 2222;

/** Where a server runs, listens, and who may come. */
export interface Place {
  readonly network: TargetNetwork;
  readonly where: RunningTarget;
  readonly listen: string;
  readonly from: string;
  makeFolder(name: string): string;
}

const beyond = (stage: Stage): Place => ({
  network: stage.network,
  where: stage.network.beyond,
  listen: BEYOND,
  from: TARGET,
  makeFolder: (name) => stage.makeFolder(name),
});

const asPostgres = ['setpriv', '--reuid', 'postgres', '--regid', 'postgres', '--clear-groups'];

export const servePostgres = (stage: Stage) => servePostgresAt(beyond(stage));
export const serveRedis = (stage: Stage) => serveRedisAt(beyond(stage));

/** Refuses root, and whoever does not come from there. */
export async function servePostgresAt({ network, where, listen, from, makeFolder }: Place): Promise<void> {
  const programs = newestOf('/usr/lib/postgresql');
  const folder = makeFolder('sql');
  const data = path.join(folder, 'data');
  const secret = path.join(folder, 'password');
  writeFileSync(secret, SQL.password);
  execFileSync('chown', ['-R', 'postgres:postgres', folder]);
  const [file = '', ...as] = asPostgres;
  const words = [
    '-D',
    data,
    '-U',
    SQL.user,
    '--pwfile',
    secret,
    '--auth',
    'scram-sha-256',
    '-E',
    'UTF8',
    '--no-locale',
  ];
  execFileSync(file, [...as, path.join(programs, 'initdb'), '--no-sync', ...words], { cwd: folder, stdio: 'pipe' });
  writeFileSync(path.join(data, 'pg_hba.conf'), `host all all ${from}/32 scram-sha-256\n`);
  const settings = ['fsync=off', 'unix_socket_directories=', `listen_addresses=${listen}`, 'max_connections=40'];
  const serve = [path.join(programs, 'postgres'), '-D', data, '-p', String(SQL.port)];
  const command = [...asPostgres, ...serve, ...settings.flatMap((setting) => ['-c', setting])];
  // On SIGINT it ends its sessions and gives its shared memory back.
  await network.serve(where, command, { ready: 'ready to accept connections', end: 'SIGINT' });
}

export async function serveRedisAt({ network, where, listen, makeFolder }: Place): Promise<void> {
  const settings = ['--bind', listen, '--port', String(STORE_PORT), '--protected-mode', 'no', '--save', ''];
  const command = ['redis-server', ...settings, '--dir', makeFolder('store')];
  await network.serve(where, command, { ready: 'eady to accept connections' });
}

export async function serveNats(stage: Stage): Promise<void> {
  const command = ['nats-server', '-a', BEYOND, '-p', String(BUS_PORT)];
  await stage.network.serve(stage.network.beyond, command, { ready: 'Server is ready' });
}

/** Takes one key, for root. What it needs below /run, and an account that is not locked, it finds in mounts of its own. */
export async function serveSsh(stage: Stage): Promise<{ key: string; knownHosts: string }> {
  const folder = stage.makeFolder('shell');
  const makeKey = (name: string) => {
    const file = path.join(folder, name);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file], { stdio: 'pipe' });
    return file;
  };
  const key = makeKey('client');
  const hostKey = makeKey('host');
  const config = path.join(folder, 'sshd_config');
  const settings = {
    ListenAddress: `${BEYOND}:${SHELL_PORT}`,
    HostKey: hostKey,
    AuthorizedKeysFile: `${key}.pub`,
    PermitRootLogin: 'yes',
    PasswordAuthentication: 'no',
    StrictModes: 'no',
    UsePAM: 'no',
    UseDNS: 'no',
    Subsystem: 'sftp internal-sftp',
    PidFile: 'none',
  };
  writeFileSync(
    config,
    Object.entries(settings)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(''),
  );
  writeFileSync(path.join(folder, 'shadow'), 'root:*:19000:0:99999:7:::\n', { mode: 0o600 });
  const knownHosts = path.join(folder, 'known_hosts');
  const [type, word] = execFileSync('ssh-keygen', ['-y', '-f', hostKey], { encoding: 'utf8' }).split(' ');
  writeFileSync(knownHosts, `* ${type} ${word}\n`);
  const script =
    'mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd && mount --bind "$0/shadow" /etc/shadow &&' +
    ' exec /usr/sbin/sshd -D -e -f "$0/sshd_config"';
  const command = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, folder];
  await stage.network.serve(stage.network.beyond, command, { ready: 'Server listening' });
  return { key, knownHosts };
}

/** The programs of the newest version that is installed. */
function newestOf(folder: string): string {
  const [newest = ''] = readdirSync(folder).sort((a, b) => Number(b) - Number(a));
  return path.join(folder, newest, 'bin');
}
