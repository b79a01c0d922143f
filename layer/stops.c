/* Hand-over of stops (stops.h). A thread that is stopped has no second event before it is resumed. */
#include "stops.h"

#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_event = PTHREAD_COND_INITIALIZER;
static struct expected *first;

void stops_expect(struct expected *expected, pid_t tid, pid_t process)
{
	*expected = (struct expected){.tid = tid, .process = process};
	pthread_mutex_lock(&lock);
	expected->next = first;
	first = expected;
	pthread_mutex_unlock(&lock);
}

void stops_forget(struct expected *expected)
{
	struct expected **at = &first;

	pthread_mutex_lock(&lock);
	while (*at != expected)
		at = &(*at)->next;
	*at = expected->next;
	pthread_mutex_unlock(&lock);
}

int stops_wait(struct expected *expected)
{
	int status;

	pthread_mutex_lock(&lock);
	while (expected->events == 0)
		pthread_cond_wait(&has_event, &lock);
	expected->events = 0;
	status = expected->status;
	pthread_mutex_unlock(&lock);
	return status;
}

static struct expected *find(pid_t pid)
{
	struct expected *one = first;

	while (one && one->tid != pid)
		one = one->next;
	if (one)
		return one;
	for (one = first; one && one->process != pid;)
		one = one->next;
	return one;
}

void stops_deliver(pid_t pid, int status)
{
	struct expected *one;

	pthread_mutex_lock(&lock);
	one = find(pid);
	if (one) {
		one->pid = pid;
		one->status = status;
		one->events++;
		pthread_cond_broadcast(&has_event);
	}
	pthread_mutex_unlock(&lock);
}
