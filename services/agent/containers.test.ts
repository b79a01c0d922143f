import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { containerIdOf, containerNames, runningContainers } from './containers.ts';

const id = (digit: string) => digit.repeat(64);
const A = id('a');

describe('the container of a process, by its cgroup', () => {
  test.each([
    ['docker, v1', `12:pids:/docker/${A}\n1:name=systemd:/docker/${A}`, A],
    ['docker, v2 with systemd', `0::/system.slice/docker-${A}.scope`, A],
    ['docker, a group below it', `0::/system.slice/docker-${A}.scope/init.scope`, A],
    ['containerd under kubelet, cgroupfs', `0::/kubepods/burstable/pod1234-5678/${A}`, A],
    [
      'containerd under kubelet, systemd',
      `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-${A}.scope`,
      A,
    ],
    ['containerd, runc with systemd names', `5:cpu:/system.slice/kubepods-pod1_2.slice:cri-containerd:${A}`, A],
    ['CRI-O', `0::/kubepods.slice/kubepods-pod1_2.slice/crio-${A}.scope`, A],
    ['the monitor of CRI-O is not in it', `0::/kubepods.slice/kubepods-pod1_2.slice/crio-conmon-${A}.scope`, null],
    ['podman', `0::/machine.slice/libpod-${A}.scope/container`, A],
    ['podman without root', `0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${A}.scope`, A],
    ['the monitor of podman is not in it', `0::/machine.slice/libpod-conmon-${A}.scope`, null],
    ['nerdctl', `0::/system.slice/nerdctl-${A}.scope`, A],
    ['a container in a container is the inner one', `0::/docker/${A}/kubelet/kubepods/pod1/${id('b')}`, id('b')],
    ['no container', '0::/user.slice/user-0.slice/session-1.scope', null],
    ['v2 beside empty v1 lines', `2:cpu:/\n0::/system.slice/docker-${A}.scope`, A],
    ['nothing', '', null],
  ])('%s', (_, cgroup, expected) => expect(containerIdOf(cgroup)).toBe(expected));
});

describe('names', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(path.join(tmpdir(), 'containers-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const write = (file: string, content: unknown) => {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), typeof content === 'string' ? content : JSON.stringify(content));
  };
  const names = () => Object.fromEntries([...containerNames(root)].map(([name, ids]) => [name, [...ids]]));

  test('of docker', () => {
    write(`var/lib/docker/containers/${A}/config.v2.json`, { ID: A, Name: '/shop' });
    expect(names()).toEqual({ shop: [A] });
  });

  test('of podman, with and without root', () => {
    write('var/lib/containers/storage/overlay-containers/containers.json', [{ id: A, names: ['shop'] }]);
    write('home/ann/.local/share/containers/storage/vfs-containers/containers.json', [
      { id: id('b'), names: ['till'] },
    ]);
    expect(names()).toEqual({ shop: [A], till: [id('b')] });
  });

  test('of CRI-O, by the container as Kubernetes calls it', () => {
    const name = 'k8s_web_shop-1_default_uid_0';
    write('var/lib/containers/storage/overlay-containers/containers.json', [{ id: A, names: [name] }]);
    expect(names()).toEqual({ [name]: [A], web: [A] });
  });

  test('of nerdctl', () => {
    write('var/lib/nerdctl/1935db59/names/default/shop', A);
    expect(names()).toEqual({ shop: [A] });
  });

  test('of containerd under Kubernetes; the sandbox of a pod has none', () => {
    const folder = 'run/containerd/io.containerd.runtime.v2.task/k8s.io';
    write(`${folder}/${A}/config.json`, { annotations: { 'io.kubernetes.cri.container-name': 'web' } });
    write(`${folder}/${id('b')}/config.json`, { annotations: { 'io.kubernetes.cri.container-type': 'sandbox' } });
    expect(names()).toEqual({ web: [A] });
  });

  test('broken state files are passed over', () => {
    write(`var/lib/docker/containers/${A}/config.v2.json`, '{"Name":');
    write('var/lib/containers/storage/overlay-containers/containers.json', { not: 'a list' });
    expect(names()).toEqual({});
  });

  test('processes are gathered by container', () => {
    for (const pid of [30, 4, 100]) write(`proc/${pid}/cgroup`, `0::/docker/${A}`);
    write('proc/5/cgroup', '0::/init.scope');
    write('proc/self/cgroup', `0::/docker/${id('b')}`);
    expect(runningContainers(root)).toEqual([{ id: A, pids: [4, 30, 100] }]);
  });
});
