/*
 * What bpf/redirect.bpf.c and its loader share.
 */
#ifndef MIRRORD_BPF_REDIRECT_H
#define MIRRORD_BPF_REDIRECT_H

#include <linux/types.h>

/* Ports that one target may have stolen at once. */
#define MIRRORD_REDIRECT_PORTS 1024
/* Our own connections to the target that are being opened; each is forgotten when it is established. */
#define MIRRORD_REDIRECT_DIALS 16384

/* Where one of our own connections comes from: the address as in IPv6, IPv4 as ::ffff:a.b.c.d. */
struct mirrord_dial {
	__u8 address[16];
	/* Host order. */
	__u16 port;
	__u16 zero;
};

#endif
