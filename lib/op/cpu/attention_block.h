/*
 * What attention forward and backward share: one (place, head), a block of its queries, scratch for them.
 *
 * A block's matrices are (Tk, Q): keys one below the other, a query in each lane, Q the block's queries rounded up to LANES. So
 * maximum, sum and Newton's steps of a query stay in its lane. A head's width is padded to V, so that every product is of whole vectors.
 */
#ifndef VQA_OP_CPU_ATTENTION_BLOCK_H
#define VQA_OP_CPU_ATTENTION_BLOCK_H

#include "op/cpu/cpu.h"

/* Queries of a block: with 36 keys its matrices stay in the first two levels of cache. */
enum { BLOCK = 64 };

/* One (place, head). */
struct part {
	const struct attention *a;
	int place, head;
	int q0, k0, Tq, Tk; /* first row and rows of queries and keys */
	int V;              /* W rounded up to LANES */
	float scale;        /* 1/sqrt(W) */
};

struct part part_of(const struct attention *a, int index);
/* Where the head's part of a row begins. */
size_t part_at(const struct part *p, int stride, int row);

/* A head's rows as the right side of a product: in place where its width is whole vectors, else copied to `room` (n, V). */
struct right {
	const float *at;
	int stride;
};

struct right part_right(const float *x, int stride, int n, const struct part *p, float *room);
/* From a product's rows (n, V) to the head's place, W wide. */
void part_put(float *out, int stride, const float *rows, int n, const struct part *p);

/* Scratch, handed out a piece after the other; a first round without memory only counts. */
struct room {
	float *base;
	size_t used;
};

float *room_take(struct room *room, size_t n);

/* --- A block: queries [first, first + rows). */

struct block {
	const struct part *p;
	int first, rows, Q;
	struct entmax *entmax;       /* entmax only */
	float *factor_rows, *factor; /* (rows, padded Tk), (Tk, Q): what dropout multiplies with */
};

/* What forward and backward both need. */
void block_take(struct room *room, struct block *b, struct entmax *entmax, const struct part *p);
void block_begin(struct block *b, int first);
/* x (Tk, Q) = rows of keys (or values) times the block's own, transposed (W, Q), times scale */
void block_by_keys(float *x, const struct block *b, const float *keys, int stride, const float *own, float scale);
/* out (rows, V) = x (Tk, Q) transposed times rows of keys (or values) */
void block_over_keys(float *out, const struct block *b, const float *x, struct right keys, float scale);
/* out (Tk, V) += x (Tk, Q) times the block's own rows */
void block_over_queries(float *out, const struct block *b, const float *x, struct right own, float scale);
/* Scores of queries [i, i + LANES) of the block, x, become probabilities; their stats are written, or known. */
void block_probabilities(const struct block *b, float *x, int i, int known);
/* factor (Tk, Q): 0 or 1/(1 - p); and x (Tk, Q) times it. */
void block_draw_factors(const struct block *b);
void block_times_factors(const struct block *b, float *x);

#endif
