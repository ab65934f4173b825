/*
 * Attention out of answer records, and figures of it.
 */
#ifndef VQA_REPORT_ATTENTION_H
#define VQA_REPORT_ATTENTION_H

#include <stdio.h>

#include "model/kinds.h"
#include "stream/record.h"

enum { ATTENTION_HEADS_MAX = 1024, ATTENTION_MATRICES_MAX = ATTENTION_KINDS * ATTENTION_LAYERS };

/* A matrix in the reader's current record. Every weight is from 0 to 1 (1e-3). */
struct attention_map {
	char name[ATTENTION_NAME];
	const struct matrix_kind *kind;
	int layer;
	int H, Q, K;         /* heads, queries, keys */
	const void *weights; /* (H, Q, K) float32, at any byte */
};

/* How many matrices the current record, an answer, has; -1. */
int attention_count(const struct rec_in *in, struct err *err);
/* The i-th of them, checked whole. */
int attention_read(const struct rec_in *in, int i, struct attention_map *map, struct err *err);

static inline float
attention_weight(const struct attention_map *map, int h, int q, int k)
{
	float w;

	__builtin_memcpy(&w,
	                 (const char *)map->weights +
	                         sizeof w * (((size_t)h * (size_t)map->Q + (size_t)q) * (size_t)map->K + (size_t)k),
	                 sizeof w);
	return w;
}

/*
 * Figures of one head. What does not apply is NaN: CLS_ENTROPY where regions ask, the last three where queries are not the keys or
 * none has such a key.
 */
enum attention_figure {
	ENTROPY,     /* of a query's weights, in nats; mean over the queries */
	SUPPORT,     /* keys with a weight above 0; mean over the queries */
	CLS_ENTROPY, /* of the first query, [CLS] */
	SELF,        /* weight of a query on itself; mean over the queries */
	NEXT,        /* on the one after it; mean over those that have one */
	PREVIOUS,    /* on the one before it, likewise */
	FIGURES
};
/* The rest of a row, and of the line with the columns' names: a tab before each, a newline at the end. */
void attention_figures_print(FILE *out, const double figures[FIGURES]);
void attention_figures_print_names(FILE *out);

void attention_figures_of(double figures[FIGURES], const struct attention_map *map, int head);

#endif
