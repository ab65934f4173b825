/*
 * How far a long job is: one line on stderr that is written over, where stderr is a terminal. For cmd/ alone, as die.h.
 */
#ifndef VQA_SYS_PROGRESS_H
#define VQA_SYS_PROGRESS_H

#include <stdint.h>

struct progress {
	const char *what;    /* "questions" */
	int64_t total;       /* 0: not known */
	double began, shown; /* seconds, of the monotonic clock */
	int on;
};

void progress_begin(struct progress *p, const char *what, int64_t total, int quiet);
/* So many are done; a few times a second the line is written again. */
void progress_show(struct progress *p, int64_t done);
/* The line goes. Messages do this too before they are written. */
void progress_clear(void);

#endif
