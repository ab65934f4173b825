/*
 * Lines of a file that may be anything: a line longer than the reader takes is an error before it is in memory.
 */
#ifndef VQA_SYS_LINES_H
#define VQA_SYS_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

struct lines {
	int fd;
	const char *name; /* of the file, for messages */
	size_t most;      /* bytes of a line, its newline included */
	int64_t number;   /* of the current line, from 1 */
	char *buf;        /* bytes read and not yet given out: buf[begin, end) */
	size_t begin, end, size;
};

void lines_open(struct lines *lines, int fd, const char *name, size_t most);
/* The next line and its bytes with the newline, which the last may lack: 1; 0 at the end; -1. Valid until the next call. */
int lines_next(struct lines *lines, char **line, size_t *n, struct err *err);
/* The descriptor stays open. */
void lines_close(struct lines *lines);

#endif
