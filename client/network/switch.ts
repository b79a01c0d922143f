// The one switch of the network of the target: off, the keys of feature.network for it are described and refused, and no
// session asks for it.

export const isNetworkBuilt: boolean = process.env['MIRRORD_EXPERIMENTAL_NETWORK'] === '1';
