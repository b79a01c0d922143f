/* Memory of keeper and worker (shared.h). */
#include "shared.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

struct shared *shared;

int shared_create(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return -errno;
	shared->status = 126 << 8; /* until there is a local process */
	return 0;
}

/* Ids count upwards, so a free slot is nearly always the first one looked at. */
void shared_remember(uint64_t id)
{
	for (unsigned int i = 0; i < 64; i++) {
		uint64_t free_slot = 0;

		if (__atomic_compare_exchange_n(&shared->calls[(id + i) % SHARED_CALLS], &free_slot, id,
						false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return;
	}
}

void shared_forget(uint64_t id)
{
	for (unsigned int i = 0; i < 64; i++) {
		uint64_t mine = id;

		if (__atomic_compare_exchange_n(&shared->calls[(id + i) % SHARED_CALLS], &mine, 0, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return;
	}
}

bool shared_park(uint64_t id)
{
	for (unsigned int i = 0; i < SHARED_PARKED; i++) {
		uint64_t free_slot = 0;

		if (__atomic_compare_exchange_n(&shared->parked[(id + i) % SHARED_PARKED], &free_slot, id, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

void shared_unpark(uint64_t id)
{
	for (unsigned int i = 0; i < SHARED_PARKED; i++) {
		uint64_t mine = id;

		if (__atomic_compare_exchange_n(&shared->parked[(id + i) % SHARED_PARKED], &mine, 0, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return;
	}
}
