// The target's name for gethostname(2) of the local process: what hostname(5) says that /etc/hostname holds.

/** Bytes of a name, uname(2). */
const HOST_NAME_MAX = 64;

/** Empty where the file says none, or what is none. */
export function hostNameOf(file: Uint8Array): Buffer {
  const text = Buffer.from(file).toString('latin1');
  const name =
    text
      .split('\n')
      .find((line) => line.trim() !== '' && !line.startsWith('#'))
      ?.trim() ?? '';
  return /^[!-~]+$/.test(name) && name.length <= HOST_NAME_MAX ? Buffer.from(name, 'latin1') : Buffer.alloc(0);
}
