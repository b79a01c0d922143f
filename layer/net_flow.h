/*
 * The connections of the local process that go through the client, and everything that is known of them. One lock for all:
 * what is done under it never waits. Flows are found by their id on the wire and by the inode of the app's socket, which is
 * the same on dups, after fork and after exec.
 */
#ifndef LAYER_NET_FLOW_H
#define LAYER_NET_FLOW_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

#include "net_addr.h"
#include "net_socket.h"

enum flow_state {
	FLOW_ASKED,   /* the client has not answered yet */
	FLOW_DIALING, /* a non-blocking connect: the app's socket sends SYNs into the void */
	FLOW_MEETING, /* our end answers them, to open or to refuse */
	FLOW_OPEN,
	FLOW_FAILED,  /* `error` was not told yet */
	FLOW_ENDED,   /* only the addresses are of use */
};

/* A call that waits for something to change. */
struct held {
	struct held *next;
	struct seccomp_notif n;
};

/* Bytes or a record on their way to the app. */
struct chunk {
	struct chunk *next;
	size_t len, sent;
	uint8_t data[];
};

/* Where an unconnected datagram socket sends to and hears from (net_peer.h). */
struct net_peer {
	struct net_peer *next;
	struct net_addr asked;   /* as the app has it */
	struct net_addr here;    /* what stands for it on this machine: our socket, or where the client said instead */
	int fd;                  /* our socket, connected to the app's; -1 */
	bool is_known, is_local;
	int error;
	struct held *held;
};

struct flow {
	struct flow *by_id, *by_inode, *next, **link; /* next and link: of all flows */
	uint64_t id, inode;
	enum flow_state state;
	uint8_t transport; /* WIRE_TRANSPORT_* */
	bool is_unconnected;
	bool is_nonblocking;
	bool is_told;      /* the app knows how its connect ended */
	bool is_linked;    /* the client knows the id */
	bool is_stale;     /* the client must be told RESET as soon as it answers */
	int domain;
	pid_t process;
	int number;        /* of the app's descriptor, when it connected */
	int fd;            /* our end; -1 */
	int app_fd;        /* the app's socket while its call is held; -1 */
	int error;         /* errno */
	struct held *held, *names; /* connects and sends; questions after addresses */
	struct net_addr asked, local, peer; /* the target's */
	struct net_addr here;  /* the app's socket on this machine */
	int64_t since_ms;      /* of state, or of the last datagram */

	/* Streams. */
	int64_t credit;        /* bytes the client still takes */
	uint32_t written;      /* bytes written on since the last credit we granted */
	struct chunk *first, *last;
	size_t queued;
	bool is_readable, is_writable, waits_for_room;
	bool has_ended_up, has_ended_down; /* HALF_CLOSE sent, HALF_CLOSE received */
	bool is_shut, is_resetting, meets_v6;
	bool is_handed, waits_for_hand; /* the client moves its bytes, or is about to (net_hand.h) */

	/* Datagrams. */
	struct net_peer *peers;
	unsigned int peer_count;
};

void net_lock(void);
/* Runs the calls that are to be looked at again (held_retry) once nothing is locked. */
void net_unlock(void);
int64_t net_now_ms(void);
/* Under the lock: until a flow has ended, or one of its directions, or so many milliseconds have passed. */
void net_wait(int64_t ms);
/* Wakes who waits. */
void net_changed(void);

/* All below under the lock. NULL: no memory. The id may be 0 for none yet. */
struct flow *flow_new(uint64_t id, const struct net_socket *socket);
struct flow *flow_of_id(uint64_t id);
struct flow *flow_of_inode(uint64_t inode);
struct flow *flow_first(void);
unsigned int flow_count(void);
unsigned int flow_count_unconnected(void);
void flow_set_unconnected(struct flow *flow);
void flow_set_id(struct flow *flow, uint64_t id);
void flow_set_state(struct flow *flow, enum flow_state state);

/* Closes our descriptors and drops what is queued. */
void flow_close(struct flow *flow);
/* The same and forgets it. Nothing may be held. */
void flow_destroy(struct flow *flow);

/* Keeps a copy of the call in *list. False: no memory; it is answered. */
bool held_add(struct held **list, const struct seccomp_notif *n);
/* Takes the list away. */
struct held *held_take(struct held **list);
/* Under the lock: they are handled as if they came now, when the lock is given back. */
void held_retry(struct held *list);
/* Answers all; true when at least one still waited. CONTINUE when is_continue. */
bool held_answer(struct held *list, int64_t value, bool is_continue);

#endif
