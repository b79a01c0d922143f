/*
 * Random operations on files below a folder, and all that the kernel said of them: run with the same seed on two equal
 * folders, two kernels that agree print the same. Several processes with several threads, each below a folder of its own,
 * so that each one's answers are its own doing.
 *
 *   differential FOLDER SEED OPERATIONS PROCESSES THREADS
 */
#define _GNU_SOURCE
#include "differential.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *work(void *arg)
{
	struct worker *w = arg;

	w->log = open_memstream(&w->text, &w->text_len);
	w->data = malloc(LARGEST);
	memset(w->fds, -1, sizeof(w->fds));
	for (unsigned int i = 0; i < w->operations; i++) {
		say(w, "%u.%u ", w->number, i);
		act(w);
		say(w, "\n");
	}
	for (int i = 0; i < SLOTS; i++)
		if (w->fds[i] >= 0)
			close(w->fds[i]);
	fclose(w->log);
	return NULL;
}

/* So deep that no link a worker makes leads to another's. */
static bool make_folder(struct worker *w, const char *folder)
{
	char *end = w->folder + snprintf(w->folder, sizeof(w->folder) - 32, "%s/%u", folder, w->number);

	for (int depth = 0; depth < 4; depth++, end += sprintf(end, "/x")) {
		if (mkdir(w->folder, 0755) != 0)
			return false;
	}
	return mkdir(w->folder, 0755) == 0;
}

/* Whoever holds the byte in the pipe may print. */
static int turn[2];

static int work_all(const char *folder, uint64_t seed, unsigned int operations, unsigned int process, unsigned int threads)
{
	char byte;

	struct worker *workers = calloc(threads, sizeof(*workers));
	pthread_t *ids = calloc(threads, sizeof(*ids));

	for (unsigned int i = 0; i < threads; i++) {
		struct worker *w = &workers[i];

		w->number = process * threads + i;
		w->random = seed * 1000003 + w->number;
		w->operations = operations;
		if (!make_folder(w, folder) || pthread_create(&ids[i], NULL, work, w) != 0)
			return 1;
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	if (read(turn[0], &byte, 1) != 1)
		return 1;
	for (unsigned int i = 0; i < threads; i++)
		fwrite(workers[i].text, 1, workers[i].text_len, stdout);
	return fflush(stdout) != 0 || write(turn[1], "", 1) != 1;
}

int main(int argc, char **argv)
{
	unsigned int processes = argc == 6 ? (unsigned int)atoi(argv[4]) : 0;
	int status, failed = 0;

	if (processes == 0 || pipe(turn) != 0 || write(turn[1], "", 1) != 1)
		return 2;
	umask(0);
	for (unsigned int i = 0; i < processes; i++) {
		if (fork() == 0)
			_exit(work_all(argv[1], strtoull(argv[2], NULL, 10), (unsigned int)atoi(argv[3]), i,
				       (unsigned int)atoi(argv[5])));
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}
