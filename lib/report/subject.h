/*
 * What a report on weights is about: a checkpoint by its NAME, and its attention modules.
 */
#ifndef VQA_REPORT_SUBJECT_H
#define VQA_REPORT_SUBJECT_H

#include "ckpt/checkpoint.h"
#include "report/modules.h"

struct subject {
	struct checkpoint ckpt;
	struct module *modules; /* (modules_n) */
	int modules_n;
	char shown[256]; /* its file, as it stands in a column or a legend: one line, no tabs */
};

int subject_open(struct subject *subject, const char *name, struct err *err);
void subject_close(struct subject *subject);
/* All of `names`, malloc'd (n); on a fault none is left open. */
struct subject *subjects_open(char **names, int n, struct err *err);
void subjects_close(struct subject *subjects, int n);
/* Layers of the longest stack of any. */
int subjects_layers(const struct subject *subjects, int n);
/* The values of parameter `param` and their number. */
const float *subject_values(const struct subject *subject, int param, size_t *n);

#endif
