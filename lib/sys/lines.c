/*
 * Lines out of a buffer that grows to the longest of them.
 */
#include "sys/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 1 << 16 };

void
lines_open(struct lines *l, int fd, const char *name, size_t most)
{
	*l = (struct lines){ .fd = fd, .name = name, .most = most };
}

void
lines_close(struct lines *l)
{
	free(l->buf);
	*l = (struct lines){ .fd = -1 };
}

/* At least one more byte into the buffer: 1, or 0 at the end of the file. */
static int
fill(struct lines *l, struct err *err)
{
	ssize_t got;

	if (l->begin) {
		memmove(l->buf, l->buf + l->begin, l->end - l->begin);
		l->end -= l->begin;
		l->begin = 0;
	}
	if (l->end == l->size) {
		size_t size = l->size ? 2 * l->size : FIRST;
		char *more = realloc(l->buf, size);

		if (!more)
			return err_set(err, "%s:%lld: out of memory for a line of over %zu bytes", l->name,
			               (long long)l->number + 1, l->size);
		l->buf = more;
		l->size = size;
	}
	do
		got = read(l->fd, l->buf + l->end, l->size - l->end);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(err, "%s: cannot read", l->name);
	l->end += (size_t)got;
	return got > 0;
}

int
lines_next(struct lines *l, char **line, size_t *n, struct err *err)
{
	size_t seen = 0;

	for (;;) {
		size_t have = l->end - l->begin;
		char *newline = have > seen ? memchr(l->buf + l->begin + seen, '\n', have - seen) : NULL;
		int more = 1;

		*n = newline ? (size_t)(newline - (l->buf + l->begin)) + 1 : have;
		if (*n > l->most)
			return err_set(err, "%s:%lld: a line of over %zu bytes", l->name, (long long)l->number + 1,
			               l->most);
		seen = have;
		if (!newline)
			more = fill(l, err);
		if (more < 0)
			return -1;
		if (!newline && more)
			continue;
		if (!*n)
			return 0;
		*line = l->buf + l->begin;
		l->begin += *n;
		l->number++;
		return 1;
	}
}
