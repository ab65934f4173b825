/*
 * A ring of rows between two threads.
 */
#include "feat/ahead.h"

#include <string.h>

static void *
read_rows(void *data)
{
	struct ahead *a = data;
	int got = 1;

	pthread_mutex_lock(&a->lock);
	while (got > 0 && !a->stop) {
		struct row *row = &a->slots[(a->begin + a->filled) % AHEAD];

		if (a->filled == AHEAD) {
			pthread_cond_wait(&a->changed, &a->lock);
			continue;
		}
		pthread_mutex_unlock(&a->lock); /* the slot behind the filled ones is this thread's */
		got = rows_next(&a->rows, row, &a->fault);
		pthread_mutex_lock(&a->lock);
		if (got > 0)
			a->filled++;
		else
			a->ended = got - 1;
		pthread_cond_broadcast(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

int
ahead_open(struct ahead *a, const struct rows *rows, struct err *err)
{
	int code;

	memset(a, 0, sizeof *a);
	a->rows = *rows;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	code = pthread_create(&a->thread, NULL, read_rows, a);
	return code ? err_set(err, "cannot start a thread: %s", strerror(code)) : 0;
}

int
ahead_next(struct ahead *a, struct row **row, struct err *err)
{
	int got = 1;

	pthread_mutex_lock(&a->lock);
	if (a->in_use) {
		a->begin = (a->begin + 1) % AHEAD;
		a->filled--;
		a->in_use = 0;
		pthread_cond_broadcast(&a->changed);
	}
	while (!a->filled && !a->ended)
		pthread_cond_wait(&a->changed, &a->lock);
	if (a->filled) {
		*row = &a->slots[a->begin];
		a->in_use = 1;
	} else {
		got = a->ended + 1;
		if (got < 0)
			*err = a->fault;
	}
	pthread_mutex_unlock(&a->lock);
	return got;
}

void
ahead_close(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->stop = 1;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	for (int i = 0; i < AHEAD; i++)
		features_release(&a->slots[i].features);
	rows_close(&a->rows);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
}
