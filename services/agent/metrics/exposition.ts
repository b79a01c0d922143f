// The text format of Prometheus (version 0.0.4). Names and labels are ours alone: nothing of a user's or a target's is in them. Pure.

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Sample = Readonly<{ labels?: Readonly<Record<string, string>>; value: number }>;

export type Family = Readonly<{
  name: string;
  type: 'counter' | 'gauge';
  help: string;
  samples: readonly Sample[];
}>;

export function exposition(families: readonly Family[]): string {
  return families.map(familyText).join('');
}

function familyText({ name, type, help, samples }: Family): string {
  const lines = samples.map(({ labels = {}, value }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
    return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.map((line) => `${line}\n`).join('')}`;
}

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
