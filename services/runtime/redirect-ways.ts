// How a stealer may bring new connections to itself; the agent that starts one knows them, so that a wrong word is told at once.

/** In the order in which they are tried; `nftables-guarded` is what kernels before 5.12 make of `nftables`. */
export const WAYS = ['auto', 'sk_lookup', 'nftables', 'nftables-guarded', 'iptables-legacy'] as const;
export type Way = (typeof WAYS)[number];
