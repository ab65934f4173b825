/*
 * A thread that waits for a pipe's readers to go. While it sleeps in poll() the pipe cannot close, whatever close() says: so
 * stopping means waking it and waiting for its end.
 */
#include "sys/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	pthread_t thread;
	int fd, wake; /* wake: -1 while nothing is watched */
	void (*lost)(const char *words);
} watched = { .wake = -1 };

static void *
watch(void *user)
{
	struct pollfd p[2] = { { .fd = watched.fd }, { .fd = watched.wake, .events = POLLIN } };

	(void)user;
	while (poll(p, 2, -1) < 0 || !(p[0].revents || p[1].revents))
		;
	if (!p[1].revents)
		watched.lost("stdout: the program that reads it has ended");
	return NULL;
}

int
watch_reader(int fd, void (*lost)(const char *words), struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
		return 0;
	watched.fd = fd;
	watched.lost = lost;
	watched.wake = eventfd(0, EFD_CLOEXEC);
	if (watched.wake < 0)
		return err_sys(err, "cannot make an eventfd");
	errno = pthread_create(&watched.thread, NULL, watch, NULL);
	return errno ? err_sys(err, "cannot start a thread") : 0;
}

void
watch_stop(void)
{
	const uint64_t one = 1;

	if (watched.wake < 0)
		return;
	while (write(watched.wake, &one, sizeof one) < 0 && errno == EINTR)
		;
	pthread_join(watched.thread, NULL);
	close(watched.wake);
	watched.wake = -1;
}
