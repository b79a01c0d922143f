/*
 * Memory that keeper and worker share, so that a killed worker leaves no call unanswered and no exit status unknown.
 */
#ifndef LAYER_SHARED_H
#define LAYER_SHARED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SHARED_CALLS 4096u
#define SHARED_PARKED 1024u

struct shared {
	pid_t app;
	bool has_ended;       /* the local process; status is set */
	bool is_done;         /* the worker ended of itself with exit_code or status */
	int status;           /* as of waitpid */
	uint64_t last_id;     /* newest notification the worker received */
	uint64_t calls[SHARED_CALLS]; /* notifications that wait for the client */
	uint64_t parked[SHARED_PARKED]; /* those that wait in our stead of the kernel's, and may as well wait there */
};

extern struct shared *shared;

int shared_create(void);
void shared_remember(uint64_t id);
/* False: there is no room; the call must not wait with us. */
bool shared_park(uint64_t id);
void shared_unpark(uint64_t id);
void shared_forget(uint64_t id);

#endif
