// The JSON schema of configuration files, for editors. Made from the schema tree; scripts/export-config.mjs writes it.

import type { JsonSchema, Key, Keys, Section, Status } from './schema/dsl.ts';
import { root } from './schema/root.ts';

export function jsonSchema(): JsonSchema {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Configuration of mirrord',
    ...sectionSchema(root, null),
  };
}

function sectionSchema(node: Section<Keys>, inherited: Status | null): JsonSchema {
  const status = node.status ?? inherited;
  const properties = Object.entries(node.keys).map(([name, child]) => [
    name,
    child.node === 'section' ? sectionSchema(child, status) : keySchema(child, child.status ?? status),
  ]);
  const map = { type: 'object', properties: Object.fromEntries(properties), additionalProperties: false };
  if (node.shorts.length === 0) return { description: node.doc, ...map };
  return { description: node.doc, anyOf: [...node.shorts.map((short) => short.json), map] };
}

function keySchema(node: Key<unknown>, status: Status | null): JsonSchema {
  const note = statusNote(status);
  const description = [node.doc, note].filter((part) => part !== '').join(' ');
  const isPlainDefault = ['string', 'number', 'boolean'].includes(typeof node.default);
  return { description, ...node.type.json, ...(isPlainDefault ? { default: node.default } : {}) };
}

/** What to know about a key that does not do what it says. */
export function statusNote(status: Status | null): string {
  switch (status?.kind) {
    case 'operator':
      return 'Requires the operator, which this product does not have: refused.';
    case 'no-effect':
      return `No effect: ${status.why}.`;
    case 'ignored':
      return `Accepted and ignored: ${status.why}.`;
    default:
      return '';
  }
}
