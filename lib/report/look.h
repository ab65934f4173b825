/*
 * One answer, drawn: where a query looks, over the picture's regions, with the question and the best answers (the reference's
 * nbs/inference.ipynb shows them side by side).
 */
#ifndef VQA_REPORT_LOOK_H
#define VQA_REPORT_LOOK_H

#include "report/attention.h"
#include "sys/plot.h"

struct look {
	int head;  /* -1: the mean of all */
	int query; /* -1: [CLS] where words ask, else the mean of all regions */
};

/* The script, into an open plot: of the reader's current record, which has the map, and whose keys are regions. */
int look_draw(struct plot *plot, const struct rec_in *in, const struct attention_map *map, struct look look,
              struct err *err);

#endif
