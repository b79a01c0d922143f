/* The shared memory and which rooms of it are in use (room.h). */
#include "room.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "link.h"

#define BYTES ((size_t)ROOMS * ROOM_BYTES)

static int memory_fd = -1;
static pid_t keeper;
static uint8_t *memory;
static uint32_t in_use = UINT32_MAX; /* a bit each; all of them until the client has the memory */

void room_create(void)
{
	int fd = memfd_create("mirrord-reads", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *mapped;

	/* Nobody may shrink it: a touch of what is gone would end us. */
	if (fd < 0 || ftruncate(fd, (off_t)BYTES) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return;
	mapped = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		return;
	memory = mapped;
	memory_fd = fd;
	keeper = getpid();
}

static void shared(void *unused, int32_t result, const uint8_t *body, size_t len)
{
	(void)unused;
	(void)body;
	(void)len;
	if (result == 0)
		__atomic_store_n(&in_use, ~((1u << ROOMS) - 1), __ATOMIC_RELEASE);
}

void room_offer(void)
{
	uint8_t body[12];
	struct wire_writer w = {body, body + sizeof(body), 0};

	if (!memory)
		return;
	wire_put_u32(&w, (uint32_t)keeper);
	wire_put_u32(&w, (uint32_t)memory_fd);
	wire_put_u32(&w, (uint32_t)BYTES);
	link_request(WIRE_SHARE, body, sizeof(body), NULL, 0, shared, NULL);
}

int room_take(uint32_t bytes)
{
	uint32_t used = __atomic_load_n(&in_use, __ATOMIC_ACQUIRE);

	if (bytes < ROOM_WORTH || bytes > ROOM_BYTES)
		return NO_ROOM;
	while (~used) {
		/* The lowest one: its pages are the warmest. */
		int room = __builtin_ctz(~used);

		if (__atomic_compare_exchange_n(&in_use, &used, used | 1u << room, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return room;
	}
	return NO_ROOM;
}

void room_give(int room)
{
	if (room != NO_ROOM)
		__atomic_fetch_and(&in_use, ~(1u << room), __ATOMIC_RELEASE);
}

uint8_t *room_memory(int room)
{
	return memory + room_place(room);
}

uint64_t room_place(int room)
{
	return (uint64_t)room * ROOM_BYTES;
}
