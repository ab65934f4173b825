/*
 * What a report on weights is about: a checkpoint by its NAME, or a plain state dict under the reference's names, whose sizes are
 * read off its shapes and whose other constants are the reference's. Only spans and alphas are read; of the other parameters it is
 * checked that they are there with their shapes.
 */
#ifndef VQA_REPORT_SUBJECT_H
#define VQA_REPORT_SUBJECT_H

#include "ckpt/config.h"
#include "model/params.h"
#include "report/modules.h"

struct subject {
	char path[4096]; /* of the file that NAME meant */
	char shown[256]; /* the same as it stands in a column or a legend: one line, no tabs */
	struct config config;
	struct params params;
	float **values;         /* (params.n): NULL but for spans and alphas */
	struct module *modules; /* (modules_n) */
	int modules_n;
};

int subject_open(struct subject *subject, const char *name, struct err *err);
void subject_close(struct subject *subject);
/* All of `names`, malloc'd (n); on a fault none is left open. */
struct subject *subjects_open(char **names, int n, struct err *err);
void subjects_close(struct subject *subjects, int n);
/* Layers of the longest stack of any. */
int subjects_layers(const struct subject *subjects, int n);
/* The values of a span or of alphas, and their number. */
const float *subject_values(const struct subject *subject, int param, size_t *n);

#endif
