/*
 * Figures of attention, mean over answers: of each matrix and head, over those that have it.
 */
#ifndef VQA_REPORT_MEANS_H
#define VQA_REPORT_MEANS_H

#include <stdio.h>

#include "report/attention.h"

/* All zero to begin with. */
struct attention_means {
	struct attention_mean {
		int heads;
		struct attention_sums {
			double sum[FIGURES];
			int64_t n[FIGURES];
		} * head; /* (heads) */
	} matrix[ATTENTION_KINDS][ATTENTION_LAYERS];
};

int attention_means_add(struct attention_means *means, const struct attention_map *map, int head,
                        const double figures[FIGURES], struct err *err);
/* Rows as of a question, which is called "all". */
void attention_means_print(FILE *out, const struct attention_means *means);
/* The entropies by layer, to a .png or .svg file: a dot a head, a line a kind of matrix through the means. */
int attention_means_draw(const struct attention_means *means, const char *path, struct err *err);
void attention_means_release(struct attention_means *means);

#endif
