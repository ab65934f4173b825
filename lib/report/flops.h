/*
 * Multiplications (each with its addition: a MAC) that one question costs, by the graph's definition (model/forward.c), counted, not
 * measured: as the reference pads it to max_tokens and objects, and as this project computes it, without padding, of the last cross
 * layer only what reaches [CLS].
 */
#ifndef VQA_REPORT_FLOPS_H
#define VQA_REPORT_FLOPS_H

#include "report/subject.h"

/* Linear layers (weights times rows), and attention's two products (scores; weights times values). */
struct macs {
	double linear, attention;
};

struct part {
	const char *name;
	double params;
	struct macs padded, here;
};

enum { PARTS = 7, SAVINGS = 4 };

struct flops {
	struct part parts[PARTS]; /* embeddings, regions, language, vision, cross, pooler, head */
	struct part total;
	/* What there would be less of: without one layer of a stack that can spare it; and without the keys that spans mask. */
	struct part savings[SAVINGS];
	int savings_n;
};

/* tokens, objects: of a question and its image here. */
void flops_count(struct flops *flops, const struct subject *subject, double tokens, double objects);

#endif
