/* The loop that receives trapped calls and answers at once those that stay local. */
#ifndef LAYER_NOTIFY_H
#define LAYER_NOTIFY_H

#include <stdbool.h>

/* Starts the thread that serves the listener for the rest of this process's life. 0 or -errno. */
int notify_start(int listener, bool has_fuse);

/* After another process died that served the listener: the calls it had received and not answered are let go, with EIO if
 * they waited for the client, else locally. */
void notify_adopt(int listener);

#endif
