/*
 * One figure of each attention module or matrix, drawn: by layer for one checkpoint, over checkpoints or epochs for several.
 */
#ifndef VQA_REPORT_CURVES_H
#define VQA_REPORT_CURVES_H

#include <stddef.h>

#include "sys/err.h"

struct curves {
	const char *title;
	const char *figure;        /* what the values are: "span" */
	const char *axis;          /* what the points are: "epoch" */
	double low, high;          /* the values' range */
	int first;                 /* number of the first point */
	int points, kinds, layers; /* how many; most layers of a kind */
	const char *const *names;  /* (kinds) */
	double *values;            /* (points, kinds, layers); NaN where there is none */
	struct curve_dot {
		int kind, layer;
		double value;
	} * dots; /* (dots_n): of each head, where there is one point */
	size_t dots_n, dots_room;
};

/* All values NaN, no dots; the other fields are the caller's. */
int curves_init(struct curves *curves, int points, int kinds, int layers, struct err *err);
void curves_release(struct curves *curves);
double *curves_at(const struct curves *curves, int point, int kind, int layer);
int curves_add_dot(struct curves *curves, int kind, int layer, double value, struct err *err);
/* To a .png or .svg file. */
int curves_draw(const struct curves *curves, const char *path, struct err *err);

#endif
