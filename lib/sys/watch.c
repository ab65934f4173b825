/*
 * A thread that waits for a pipe's readers to go.
 */
#include "sys/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>

static void (*on_loss)(const char *words);
static int stopped;

static void *
watch(void *user)
{
	struct pollfd p = { .fd = (int)(intptr_t)user };

	while (poll(&p, 1, -1) < 0 || !(p.revents & (POLLERR | POLLHUP)))
		;
	if (!__atomic_load_n(&stopped, __ATOMIC_ACQUIRE))
		on_loss("stdout: the program that reads it has ended");
	return NULL;
}

int
watch_reader(int fd, void (*lost)(const char *words), struct err *err)
{
	struct stat st;
	pthread_t thread;

	if (fstat(fd, &st) || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
		return 0;
	on_loss = lost;
	errno = pthread_create(&thread, NULL, watch, (void *)(intptr_t)fd);
	if (errno)
		return err_sys(err, "cannot start a thread");
	pthread_detach(thread);
	return 0;
}

void
watch_stop(void)
{
	__atomic_store_n(&stopped, 1, __ATOMIC_RELEASE);
}
