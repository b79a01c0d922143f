/* Calls that the client answers: builds the request of a trapped call and makes its reply the answer. */
#ifndef LAYER_REMOTE_H
#define LAYER_REMOTE_H

#include <linux/seccomp.h>

#include "call_table.h"
#include "pending.h"
#include "place.h"

struct remote_call {
	const struct seccomp_notif *notif;
	const struct call_spec *spec;
	const struct place_path *path, *path2; /* path2 of rename and link, or the text of a symlink */
	size_t asked_len; /* of the path as the process gave it */
	uint32_t open_flags, open_mode;
	uint64_t resolve; /* of openat2 */
	bool is_write, is_asked;
};

/* Never blocks. Answers the call itself when it cannot be asked. */
void remote_start(const struct remote_call *call, uint64_t key);

#endif
