/*
 * The kinds of attention matrices that answers carry (vqa-forward(1)), and lists of their names.
 */
#ifndef VQA_MODEL_KINDS_H
#define VQA_MODEL_KINDS_H

#include <stddef.h>

#include "ckpt/config.h"

struct matrix_kind {
	const char *name;            /* a matrix is called this, a dot and its layer's number */
	size_t layers;               /* offset of their count in struct config */
	int words_ask, words_answer; /* whether queries, keys are words; else they are regions */
	int self;                    /* queries and keys are the same rows */
};

enum { ATTENTION_KINDS = 6, ATTENTION_LAYERS = 256 /* most of a stack */, ATTENTION_NAME = 64 };
extern const struct matrix_kind matrix_kinds[ATTENTION_KINDS];

/* The kind of a matrix's name of n bytes, and its layer; NULL if it is no such name. */
const struct matrix_kind *matrix_kind_of(const char *name, size_t n, int *layer);
/* Whether a matrix is meant by "all", or by a comma list of kinds ("self-vision") and matrices ("self-vision.0"). */
int attention_wanted(const char *names, const char *name);
/* Every name in the list is a kind, or a matrix: one that this configuration has, if it is not NULL. */
int attention_names_check(const char *names, const struct config *config, struct err *err);

#endif
