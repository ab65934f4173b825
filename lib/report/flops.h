/*
 * Multiplications (each with its addition: a MAC) that one question costs, by the graph's definition (model/forward.c), counted, not
 * measured: as the reference pads it to max_tokens and objects; as this project computes it while training, without padding, of the
 * last cross layer only what reaches [CLS]; and when answering, where questions share what depends on their image alone.
 */
#ifndef VQA_REPORT_FLOPS_H
#define VQA_REPORT_FLOPS_H

#include "report/subject.h"

/* Linear layers (weights times rows), and attention's two products (scores; weights times values). */
struct macs {
	double linear, attention;
};

/* As the reference pads; without padding; so, and what is of an image alone once for all of its questions. */
enum way { PADDED, HERE, ANSWERING, WAYS };

struct part {
	const char *name;
	double params;
	struct macs macs[WAYS];
};

enum { PARTS = 7, SAVINGS = 4 };

struct flops {
	struct part parts[PARTS]; /* embeddings, regions, language, vision, cross, pooler, head */
	struct part total;
	/*
	 * What there would be less of: without one layer of a stack, of cross layers the first; and without the keys that spans mask.
	 * Without a name where the model has none to spare.
	 */
	struct part savings[SAVINGS];
};

/* tokens, objects: of a question and its image here. per_image: questions of an image. */
void flops_count(struct flops *flops, const struct subject *subject, double tokens, double objects, double per_image);

#endif
