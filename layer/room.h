/*
 * Memory that supervisor and client share: the client lays the bytes of reads into it, and the kernel is answered from there,
 * so that they need not go through the socket. Rooms are taken before a read is asked for and given back when it is answered:
 * who is dead or silent holds nothing that another one waits for. Without any, bytes come by the socket.
 */
#ifndef LAYER_ROOM_H
#define LAYER_ROOM_H

#include <stdint.h>

#define ROOM_BYTES (1u << 20)
#define ROOMS 16u
/* Shorter reads go by the socket. */
#define ROOM_WORTH 16384u
#define NO_ROOM (-1)

/* Before there is a keeper: its /proc entry is where the client finds the memory. */
void room_create(void);

/* The link is started: has the client open the memory. Until it has there are no rooms. */
void room_offer(void);

/* A room, or NO_ROOM. */
int room_take(uint32_t bytes);
/* NO_ROOM is nothing to give back. */
void room_give(int room);

uint8_t *room_memory(int room);
/* Its place in the shared memory. */
uint64_t room_place(int room);

#endif
