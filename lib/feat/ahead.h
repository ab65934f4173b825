/*
 * Rows read ahead by a thread, so that reading and decoding the next ones goes on while one is stored. Order and faults are those of
 * rows_next().
 */
#ifndef VQA_FEAT_AHEAD_H
#define VQA_FEAT_AHEAD_H

#include <pthread.h>

#include "feat/rows.h"

enum { AHEAD = 4 };

struct ahead {
	struct rows rows;
	struct row slots[AHEAD];
	int begin, filled; /* slots[begin, begin + filled) are read, of which the first may be in use */
	int in_use, ended; /* ended: what rows_next() returned at last, minus 1 */
	int stop;
	struct err fault; /* if that was -1 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
};

/* The rows become its own. It must not be moved. */
int ahead_open(struct ahead *ahead, const struct rows *rows, struct err *err);
/* As rows_next(); the row is the caller's until the next call. */
int ahead_next(struct ahead *ahead, struct row **row, struct err *err);
void ahead_close(struct ahead *ahead);

#endif
