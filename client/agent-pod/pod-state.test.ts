import { expect, test } from 'vitest';
import type { Pod } from '../kube/objects.ts';
import { podState } from './pod-state.ts';

type Status = NonNullable<Pod['status']>;
type State = NonNullable<NonNullable<Status['containerStatuses']>[number]['state']>;

function pod(status: Status, containers = 2): Pod {
  return {
    metadata: { name: 'agent-x' },
    spec: { containers: Array.from({ length: containers }, () => ({ name: 'c' })) },
    status,
  };
}

function withStates(...states: State[]): Pod {
  return pod({
    phase: 'Pending',
    containerStatuses: states.map((state, at) => ({ name: `c${at}`, image: 'i:1', state })),
  });
}

const running: State = { running: { startedAt: 'now' } };

test('it runs when every container does', () => {
  expect(podState(withStates(running, running))).toEqual({ kind: 'running', name: 'agent-x' });
  expect(podState(withStates(running, { waiting: { reason: 'ContainerCreating' } }))).toEqual({
    kind: 'starting',
    what: 'ContainerCreating',
  });
  expect(podState(pod({ phase: 'Pending' }))).toEqual({ kind: 'starting', what: '0 of 2 containers run' });
});

test('a node that is not ready is suspected while it says nothing of the pod', () => {
  const { metadata, status } = pod({ phase: 'Pending' });
  const what = 'node n-1 has not taken it up (`kubectl get node n-1` shows whether it is ready)';
  expect(
    podState({ metadata, spec: { nodeName: 'n-1', containers: [{ name: 'c' }] }, ...(status ? { status } : {}) }),
  ).toEqual({ kind: 'starting', what });
});

test('no node takes it: it still may start, and the reason is told', () => {
  const conditions = [{ type: 'PodScheduled', status: 'False', message: '0/2 nodes are available' }];
  expect(podState(pod({ phase: 'Pending', conditions }))).toEqual({
    kind: 'starting',
    what: 'no node takes it: 0/2 nodes are available',
  });
});

test.each([
  [
    withStates({ waiting: { reason: 'ErrImagePull', message: 'not found' } }),
    /cannot get the agent's image i:1 \(ErrImagePull\): not found/,
  ],
  [
    withStates(running, { waiting: { reason: 'CreateContainerError', message: 'no' } }),
    /container c1 .* cannot start .*: no/,
  ],
  [
    pod({ phase: 'Failed', reason: 'OutOfpods', message: 'Node has no room' }),
    /no room for the agent's pod \(OutOfpods\)/,
  ],
  [pod({ phase: 'Failed', reason: 'NodeAffinity', message: 'x' }), /does not run the agent's pod \(NodeAffinity\): x/],
  [
    pod({
      phase: 'Failed',
      containerStatuses: [{ name: 'agent', state: { terminated: { reason: 'Error', exitCode: 2 } } }],
    }),
    /ended before it could be used: agent Error with exit code 2/,
  ],
  [
    pod({
      phase: 'Failed',
      containerStatuses: [
        {
          name: 'agent',
          state: {
            terminated: { reason: 'StartError', exitCode: 128, message: 'exec: "/usr/bin/node": no such file' },
          },
        },
      ],
    }),
    /: agent StartError with exit code 128 \(exec: "\/usr\/bin\/node": no such file\)/,
  ],
  [
    pod({
      phase: 'Running',
      containerStatuses: [
        {
          name: 'agent',
          state: { running: { startedAt: 'now' } },
          lastState: { terminated: { reason: 'OOMKilled', exitCode: 137 } },
        },
      ],
    }),
    /ended before it could be used: agent OOMKilled with exit code 137/,
  ],
  [pod({ phase: 'Failed' }), /no reason is given/],
  [{ metadata: { name: 'agent-x', deletionTimestamp: 'now' } }, /is being deleted/],
])('%j is over', (given, message) => {
  const state = podState(given as Pod);
  expect(state.kind).toBe('over');
  expect(state.kind === 'over' && state.error.message).toMatch(message);
});
