import { beforeEach, describe, expect, test } from 'vitest';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Subscribe, Subscribed } from '#proto/gen/v1/incoming.ts';
import type { SessionStream } from '#proto/session-stream.ts';
import { Passage } from './passage.ts';

type Kind = Exclude<keyof typeof FrameKind, 'UNRECOGNIZED'>;

const nameOf = (kind: FrameKind): string | undefined =>
  Object.entries(FrameKind)
    .find(([, value]) => value === kind)?.[0]
    .replace('FRAME_KIND_', '');

/** What one end of a passage is given. */
class End {
  readonly frames: Frame[] = [];
  readonly stream = {
    bufferedBytes: 0,
    drained: () => Promise.resolve(),
    send: (frame: Frame) => this.frames.push(frame),
  } as unknown as SessionStream;

  get kinds(): string[] {
    return this.frames.map(({ id, kind }) => `${nameOf(kind)} ${id}`);
  }
}

let agent: End;
let holder: End;
let passage: Passage;
beforeEach(() => {
  [agent, holder] = [new End(), new End()];
  passage = new Passage((frame) => agent.stream.send(frame));
});

function up(id: number, kind: Kind, head?: Uint8Array, to: End | null = holder): void {
  void passage.up(makeFrame(id, FrameKind[kind], head), to?.stream ?? null);
}

function down(id: number, kind: Kind, head?: Uint8Array): void {
  void passage.down(makeFrame(id, FrameKind[kind], head), agent.stream);
}

const wanted = Subscribe.encode({ ...Subscribe.decode(new Uint8Array()), port: 8080 }).finish();
const standing = { sinceNs: 5n, rank: 7n };
const answer = Subscribed.encode({ olderConnections: 0, notes: [], olderPeers: [], standing, lease: '' }).finish();

function subscribe(id = 1): void {
  up(id, 'FRAME_KIND_SUBSCRIBE', wanted);
  down(id, 'FRAME_KIND_SUBSCRIBED', answer);
}

describe('with a holder', () => {
  test('what is about a subscription or a connection passes both ways, and nothing else does', () => {
    subscribe();
    up(1, 'FRAME_KIND_RENEW');
    down(1, 'FRAME_KIND_RENEWED');
    down(4, 'FRAME_KIND_ARRIVED');
    down(4, 'FRAME_KIND_DATA');
    up(4, 'FRAME_KIND_CREDIT');
    up(8, 'FRAME_KIND_RESET');
    down(4, 'FRAME_KIND_ENDED');
    up(4, 'FRAME_KIND_CREDIT');
    expect(holder.kinds).toEqual(['SUBSCRIBE 1', 'RENEW 1', 'CREDIT 4']);
    expect(agent.kinds).toEqual(['SUBSCRIBED 1', 'RENEWED 1', 'ARRIVED 4', 'DATA 4', 'ENDED 4']);
  });

  test('a holder that speaks of connections it never opened is not followed', () => {
    subscribe();
    expect(() => down(4, 'FRAME_KIND_DATA')).toThrow(/is not its holder's/);
    expect(() => down(4, 'FRAME_KIND_ENDED')).toThrow(/is not its holder's/);
    expect(() => down(2, 'FRAME_KIND_ARRIVED')).toThrow(/is not its holder's/);
  });
});

describe('when the holder has gone', () => {
  test('connections have their end, and the next holder is told of subscriptions with the place they had', () => {
    subscribe();
    down(4, 'FRAME_KIND_ARRIVED');
    down(8, 'FRAME_KIND_ARRIVED');
    passage.holderLost();
    expect(agent.kinds.slice(3)).toEqual(['ENDED 4', 'ENDED 8']);
    const [again] = passage.again();
    expect(Subscribe.decode(again?.head ?? new Uint8Array())).toMatchObject({ port: 8080, isAgain: true, standing });
    expect(passage.nextId).toBe(12);
    expect(passage.isAnswered(makeFrame(1, FrameKind.FRAME_KIND_SUBSCRIBED, answer))).toBe(true);
  });

  test('what was asked for and not answered is asked for as new, and its answer is the first', () => {
    up(1, 'FRAME_KIND_SUBSCRIBE', wanted);
    passage.holderLost();
    const [again] = passage.again();
    expect(Subscribe.decode(again?.head ?? new Uint8Array())).toMatchObject({ isAgain: false, standing: undefined });
    down(1, 'FRAME_KIND_SUBSCRIBED', answer);
    expect(agent.kinds).toEqual(['SUBSCRIBED 1']);
  });

  test('what ends meanwhile is answered here, and is not told to the next', () => {
    subscribe(1);
    subscribe(3);
    up(1, 'FRAME_KIND_UNSUBSCRIBE');
    passage.holderLost();
    up(3, 'FRAME_KIND_UNSUBSCRIBE', undefined, null);
    expect(agent.kinds.slice(2)).toEqual(['UNSUBSCRIBED 1', 'UNSUBSCRIBED 3']);
    expect(passage.again()).toEqual([]);
  });
});
