/*
 * uv_poll_t, which tells when a descriptor is ready on the loop of the thread that made it. Node's uv.h is in no npm package
 * and not in every installation. What is used of it here is part of libuv's stable interface (1.19 and later of 1.x; Node
 * exports it to addons), so it is declared by hand; the handle's size is asked for at run time.
 */
#ifndef MIRRORD_RUNTIME_UV_POLL_H
#define MIRRORD_RUNTIME_UV_POLL_H

#include <cstddef>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;
struct uv_poll_s;
size_t uv_handle_size(int type);
void uv_handle_set_data(struct uv_handle_s *handle, void *data);
void *uv_handle_get_data(const struct uv_handle_s *handle);
int uv_poll_init(struct uv_loop_s *loop, struct uv_poll_s *handle, int fd);
int uv_poll_start(struct uv_poll_s *handle, int events,
		  void (*callback)(struct uv_poll_s *, int, int));
int uv_poll_stop(struct uv_poll_s *handle);
void uv_close(struct uv_handle_s *handle, void (*callback)(struct uv_handle_s *));
}

/* UV_HANDLE_TYPE_MAP of uv.h: the ninth of uv_handle_type. */
static constexpr int UV_POLL_TYPE = 8;
static constexpr int UV_POLL_READABLE = 1;
/* And writable. */
static constexpr int UV_POLL_EVENTS = UV_POLL_READABLE | 2;

static inline struct uv_handle_s *as_handle(struct uv_poll_s *poll)
{
	return reinterpret_cast<struct uv_handle_s *>(poll);
}

#endif
