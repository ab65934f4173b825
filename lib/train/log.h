/*
 * vqa-step's table, a row a step: to stdout, and to a run's log.tsv, which is cut back to the snapshot when the run goes on.
 */
#ifndef VQA_TRAIN_LOG_H
#define VQA_TRAIN_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "sys/err.h"

struct log_row {
	int64_t step;
	double bce, span, total, norm, rate;
	double accuracy; /* mean of the target's score of the largest logit, with dropout on */
	int64_t questions;
};

int log_header(FILE *out, const char *name, struct err *err);
/* Flushed, so that who reads along sees it now. */
int log_row(FILE *out, const char *name, const struct log_row *row, struct err *err);
/* Open path for more rows, after the row of `step`: later ones are cut off. step 0 begins anew. */
FILE *log_open(const char *path, int64_t step, struct err *err);

#endif
