/*
 * What adaptive spans come to: the reference's figure, and what the mask really does (reference: models/adaptive_span.py).
 */
#ifndef VQA_REPORT_SPAN_H
#define VQA_REPORT_SPAN_H

#include "ckpt/config.h"
#include "report/modules.h"

/* Weight of key k of S: clamp(((k - (S - 1)) + value S) / ramp + 1, 0, 1), in float32 as the model has it. */
float span_weight(float value, int k, int S, int ramp);
/* The reference's figure: ceil(unit value) + ramp within 0 … unit; NaN for NaN. */
double span_figure(double value, const struct config *cfg);

/* Means over some values of a module's span; of words or regions that are no keys of it: NaN. */
struct span_mask {
	double words_zero, regions_zero;     /* keys whose weight is 0, of max_tokens and of objects */
	double words_weight, regions_weight; /* mean weight of a key */
};

struct span_summary {
	double mean, largest;
	double at_0, at_1; /* share of values not above 0, not below 1 */
	struct span_mask mask;
};

struct span_mask span_mask_of(const float *values, size_t n, const struct module *module, const struct config *cfg);
struct span_summary span_summary_of(const float *values, size_t n, const struct module *module,
                                    const struct config *cfg);

#endif
