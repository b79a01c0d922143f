/*
 * The keeper: parent of the worker, which it replaces when the worker is killed. It then answers by the rules alone: local
 * calls go on, remote ones get EIO. Without it no program of the session could even start a child.
 */
#ifndef LAYER_KEEPER_H
#define LAYER_KEEPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The worker's side. */
void keeper_send_setup(int socket, const uint8_t *body, size_t len);
void keeper_send_listener(int socket, int listener);

/* The keeper's side: exits as the local process did, when nothing of it is left. */
void keeper_run(pid_t worker, int socket) __attribute__((noreturn));

#endif
