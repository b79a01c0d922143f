/* A process that forbids to be looked at (unreadable.h). */
#include "unreadable.h"

#include <errno.h>
#include <stdatomic.h>

#include "link.h"
#include "tracee.h"

void unreadable_tell(pid_t tid, int failed)
{
	static _Atomic pid_t last;
	pid_t process;

	if (failed != -EPERM)
		return;
	process = tracee_process(tid);
	if (atomic_exchange(&last, process) != process)
		link_log(1, "process %d does not let mirrord look at it (not dumpable, or of another user): "
			    "what it opens and connects to is this machine's",
			 process);
}
