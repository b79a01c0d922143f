// Before the cluster suite: says at once what is missing, instead of in every test.

export function setup(): void {
  for (const name of ['KUBECONFIG', 'MIRRORD_TEST_IMAGE', 'MIRRORD_TEST_DEMO_IMAGE', 'MIRRORD_TEST_NODES']) {
    if (!process.env[name]) throw new Error(`${name} is not set: the cluster suite is run by npm run test:cluster`);
  }
}
