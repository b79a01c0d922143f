// The keys of feature.network.incoming about TLS: who the stealer is on a port, and how what it has read reaches the local
// process.

import type { Reading, ValueType } from './dsl.ts';
import { isPlainObject, nonEmptyText, oneOf, optional, portList, textList } from './values.ts';

export type TlsIdentityConfig = Readonly<{
  /** Null: every port. */
  ports: readonly number[] | null;
  /** Whose files they are. */
  from: 'target' | 'local';
  certificate: string;
  key: string;
  /** Empty: those of the certificate. */
  server_names: readonly string[];
  client_roots: string | null;
  target_certificate: string | null;
  target_key: string | null;
  target_roots: string | null;
}>;

export type TlsDeliveryConfig = Readonly<{
  protocol: 'tls' | 'tcp';
  server_name: string | null;
  /** Files, or folders of files. */
  trust_roots: readonly string[];
  server_cert: string | null;
}>;

type Field<T> = Readonly<{ type: ValueType<T>; otherwise: T | undefined }>;
type Fields<R> = { readonly [K in keyof R]-?: Field<R[K]> };

const given = <T>(type: ValueType<T>): Field<T> => ({ type, otherwise: undefined });
const or = <T>(type: ValueType<T>, otherwise: T): Field<T> => ({ type, otherwise });
const maybeText = or(optional(nonEmptyText), null);

const identityFields: Fields<TlsIdentityConfig> = {
  ports: or(optional(portList), null),
  from: or(oneOf('target', 'local'), 'target'),
  certificate: given(nonEmptyText),
  key: given(nonEmptyText),
  server_names: or(textList, []),
  client_roots: maybeText,
  target_certificate: maybeText,
  target_key: maybeText,
  target_roots: maybeText,
};

const deliveryFields: Fields<TlsDeliveryConfig> = {
  protocol: or(oneOf('tls', 'tcp'), 'tls'),
  server_name: maybeText,
  trust_roots: or(textList, []),
  server_cert: maybeText,
};

/** A map of known fields; what is left out is what it is otherwise. */
function record<R extends object>(name: string, fields: Fields<R>): ValueType<R> {
  const names = Object.keys(fields) as (keyof R & string)[];
  const required = names.filter((one) => fields[one].otherwise === undefined);
  return {
    name,
    read: (value): Reading<R> => {
      if (!isPlainObject(value)) return { bad: `wants ${name}` };
      const unknown = Object.keys(value).find((one) => !(names as string[]).includes(one));
      if (unknown !== undefined) return { bad: `holds ${unknown}, which is none of ${names.join(', ')}` };
      const read: Partial<R> = {};
      for (const one of names) {
        const { type, otherwise } = fields[one];
        if (value[one] === undefined && otherwise === undefined) return { bad: `wants ${required.join(' and ')}` };
        const reading = value[one] === undefined ? { ok: otherwise as R[typeof one] } : type.read(value[one]);
        if ('bad' in reading) return { bad: `${one}: ${reading.bad}` };
        read[one] = reading.ok;
      }
      return { ok: read as R };
    },
    fromText: (text) => text,
    json: {
      type: 'object',
      properties: Object.fromEntries(names.map((one) => [one, fields[one].type.json])),
      required,
      additionalProperties: false,
    },
  };
}

const identity: ValueType<TlsIdentityConfig> = record('a map with certificate and key', identityFields);

export const tlsIdentities: ValueType<readonly TlsIdentityConfig[]> = {
  name: 'a list of maps with certificate and key',
  read: (value) => {
    if (!Array.isArray(value)) return { bad: 'wants a list of maps with certificate and key' };
    const list: TlsIdentityConfig[] = [];
    for (const [index, one] of value.entries()) {
      const reading = identity.read(one);
      const bad = 'bad' in reading ? reading.bad : faultOf(reading.ok);
      if (bad !== null) return { bad: `${bad} (item ${index + 1})` };
      if ('ok' in reading) list.push(reading.ok);
    }
    return { ok: list };
  },
  fromText: (text) => text,
  json: { type: 'array', items: identity.json },
};

function faultOf({ target_certificate, target_key, client_roots }: TlsIdentityConfig): string | null {
  if ((target_certificate === null) !== (target_key === null)) {
    return 'has only one of target_certificate and target_key, which belong together';
  }
  // The target asks for certificates to know who is there: whoever we let in would be us to it.
  if (target_certificate !== null && client_roots === null) {
    return 'has target_certificate without client_roots: anybody would reach the target with it';
  }
  return null;
}

const anyDelivery = record('a map such as {"protocol": "tcp"}', deliveryFields);

export const tlsDelivery: ValueType<TlsDeliveryConfig | null> = optional({
  ...anyDelivery,
  read: (value) => {
    const reading = anyDelivery.read(value);
    if ('bad' in reading || reading.ok.server_cert === null || reading.ok.trust_roots.length === 0) return reading;
    return { bad: 'has trust_roots and server_cert, which exclude each other' };
  },
});
