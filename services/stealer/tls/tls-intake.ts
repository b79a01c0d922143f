// A new connection on a port of which some session has a certificate: what is said first tells whether it is TLS for one of its
// names. Then we speak TLS to both sides, to the target in the client's name, and what the target chooses of the client's
// protocols is what the client is told. Everything else is left as it came.

import { AppError } from '#proto/errors.ts';
import type { TlsFacts } from '#proto/gen/v1/incoming.ts';
import { type Accepted, type Dialled, endpointOf, type Redirect } from '../redirect.ts';
import type { Endpoint } from '../relay/endpoint.ts';
import { PoolEndpoint } from '../relay/pool-endpoint.ts';
import type { ClientHello } from './client-hello.ts';
import { awaitFirstWords, type FirstWords } from './first-words.ts';
import { HTTP_PROTOCOLS, type Identity } from './identity.ts';
import { secureClient, secureOrigin } from './secure-endpoint.ts';

/** Both sides of a client connection, as plaintext where we are in between. */
export type Way = Readonly<{
  client: Endpoint;
  connectOrigin: () => Endpoint;
  /** In place of connectOrigin: the target is not wanted. */
  dropOrigin: () => void;
  /** Null: it came without TLS, or TLS is not ours to end. */
  tls: TlsFacts | null;
}>;

/** `isWhole`: a session takes the whole connection, and the target is only asked for what it would have chosen. */
export type Chosen = Readonly<{ identity: Identity; isWhole: boolean }>;

export type TlsIntakeOptions = Readonly<{
  accepted: Accepted;
  redirect: Redirect;
  /** How long its hello may take, from its first byte, in ms. */
  firstMs: number;
  /** Who we are for this client, if anybody. */
  choose: (hello: ClientHello) => Chosen | undefined;
  /** It is no TLS, or ours to read. */
  onWay: (way: Way) => void;
  /** TLS that is nobody's to read. */
  onSealed: (way: Way) => void;
  /** Over before it had a way. */
  onClosed: () => void;
}>;

type First = Readonly<{ endpoint: PoolEndpoint | null; protocol: string }>;

/** Its connection is its owner's no more, until one of its three ends is told. */
export class TlsIntake {
  readonly #options: TlsIntakeOptions;

  constructor(options: TlsIntakeOptions) {
    this.#options = options;
    const { accepted, firstMs } = options;
    awaitFirstWords(accepted.fd, this.#dial(), (words) => void this.#heard(words), firstMs);
  }

  #dial(): Dialled | null {
    const { redirect, accepted } = this.#options;
    try {
      return redirect.dialFd(accepted);
    } catch {
      // Dialled again, and told, when a request is for the target.
      return null;
    }
  }

  async #heard({ hello, origin }: FirstWords): Promise<void> {
    const { onWay, onSealed, choose } = this.#options;
    const chosen = hello === null || !isForFilters(hello) ? undefined : choose(hello);
    if (hello === null) onWay(this.#plainWay(origin));
    else if (chosen === undefined) onSealed(this.#plainWay(origin));
    else {
      const first = await this.#askTarget(chosen, hello, origin);
      if (first === null) onSealed(this.#plainWay(null));
      else await this.#accept(chosen.identity, hello, first);
    }
  }

  /** Bytes as they come, read from their beginning. */
  #plainWay(origin: Dialled | null): Way {
    const { accepted, redirect } = this.#options;
    const first = origin === null ? null : endpointOf(origin);
    const ways = origins(first, () => redirect.dial(accepted));
    return { client: new PoolEndpoint(accepted.fd), ...ways, tls: null };
  }

  /** @returns null when the target does not have us as a client, and has to be left alone with its own */
  async #askTarget({ identity, isWhole }: Chosen, hello: ClientHello, origin: Dialled | null): Promise<First | null> {
    const unasked: First = { endpoint: null, protocol: preferred(hello.protocols) };
    if (origin === null) return unasked;
    const { endpoint, agreed } = secureOrigin(identity, hello.serverName, hello.protocols, origin);
    try {
      const { protocol, asksWhoWeAre } = await agreed;
      const isReadable = protocol === '' || HTTP_PROTOCOLS.includes(protocol);
      // It would take all clients for one who has no certificate, whatever they have.
      const isMistaken = asksWhoWeAre && !identity.hasOwnForTarget;
      if (isReadable && !isMistaken) return { endpoint, protocol };
    } catch (thrown) {
      const isDown = AppError.from(thrown, 'BUG').code === 'CONNECTION_FAILED';
      return isDown || isWhole ? unasked : null;
    }
    endpoint.destroy();
    return isWhole ? unasked : null;
  }

  async #accept(identity: Identity, { serverName }: ClientHello, { endpoint, protocol }: First): Promise<void> {
    const { accepted, onWay, onClosed } = this.#options;
    const client = secureClient(identity, protocol, accepted.fd);
    try {
      await client.agreed;
    } catch {
      // Its client has been told by an alert.
      endpoint?.destroy();
      onClosed();
      return;
    }
    const ways = origins(endpoint, () => this.#connectOrigin(identity, serverName, protocol));
    onWay({ client: client.endpoint, ...ways, tls: { serverName, alpn: protocol } });
  }

  /** For a client that has been told the protocol. */
  #connectOrigin(identity: Identity, serverName: string, protocol: string): Endpoint {
    const { redirect, accepted } = this.#options;
    try {
      const protocols = protocol === '' ? [] : [protocol];
      const origin = secureOrigin(identity, serverName, protocols, redirect.dialFd(accepted));
      origin.agreed.then(
        ({ protocol: chosen }) =>
          chosen === protocol ||
          origin.endpoint.fail(new AppError('UNSUPPORTED', `the target speaks ${chosen}, not ${protocol}`)),
        () => undefined,
      );
      return origin.endpoint;
    } catch (thrown) {
      return new PoolEndpoint(AppError.from(thrown, 'BUG'));
    }
  }
}

function origins(first: Endpoint | null, connect: () => Endpoint): Pick<Way, 'connectOrigin' | 'dropOrigin'> {
  let waiting = first;
  return {
    connectOrigin: () => {
      const origin = waiting ?? connect();
      waiting = null;
      return origin;
    },
    dropOrigin: () => {
      waiting?.destroy();
      waiting = null;
    },
  };
}

/** A client that offers nothing but other protocols is the target's: there would be nothing to filter. */
function isForFilters({ protocols }: ClientHello): boolean {
  return protocols.length === 0 || protocols.some((protocol) => HTTP_PROTOCOLS.includes(protocol));
}

/** In the place of a target that cannot be asked: what every server speaks, if the client does. */
function preferred(protocols: readonly string[]): string {
  return ['http/1.1', ...HTTP_PROTOCOLS].find((protocol) => protocols.includes(protocol)) ?? '';
}
