/*
 * Figures of spans.
 */
#include "report/span.h"

#include <math.h>

float
span_weight(float value, int k, int S, int ramp)
{
	float weight = ((float)(k - (S - 1)) + value * (float)S) / (float)ramp + 1;

	return weight < 0 ? 0 : weight > 1 ? 1 : weight;
}

double
span_figure(double value, const struct config *cfg)
{
	double figure = ceil(cfg->span_unit * value) + cfg->span_ramp;

	return isnan(value) ? NAN : fmin(fmax(figure, 0), cfg->span_unit);
}

/* Over S keys: how many have weight 0, and what one weighs, in the mean over the values. */
static void
over_keys(double *zero, double *weight, const float *values, size_t n, int S, int ramp)
{
	*zero = *weight = 0;
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < S; k++) {
			float w = span_weight(values[i], k, S, ramp);

			*zero += w == 0;
			*weight += (double)w / S;
		}
	*zero /= (double)n;
	*weight /= (double)n;
}

struct span_mask
span_mask_of(const float *values, size_t n, const struct module *module, const struct config *cfg)
{
	struct span_mask mask = { NAN, NAN, NAN, NAN };

	if (module->over_words)
		over_keys(&mask.words_zero, &mask.words_weight, values, n, cfg->max_tokens, cfg->span_ramp);
	if (module->over_regions)
		over_keys(&mask.regions_zero, &mask.regions_weight, values, n, cfg->objects, cfg->span_ramp);
	return mask;
}

struct span_summary
span_summary_of(const float *values, size_t n, const struct module *module, const struct config *cfg)
{
	struct span_summary s = { .largest = -INFINITY };

	for (size_t i = 0; i < n; i++) {
		s.mean += (double)values[i] / (double)n;
		s.largest = values[i] > s.largest || isnan(values[i]) ? values[i] : s.largest;
		s.at_0 += values[i] <= 0;
		s.at_1 += values[i] >= 1;
	}
	s.at_0 /= (double)n;
	s.at_1 /= (double)n;
	s.mask = span_mask_of(values, n, module, cfg);
	return s;
}
