/*
 * The adaptive spans' loss (reference: learner.py, models/adaptive_span.py): span_loss span_unit mean(value) of each attention.
 */
#include <stdlib.h>

#include "model/tape.h"

/* What each value of a span adds to the loss, times itself. */
static double
share_of(const struct config *cfg, const struct param *span)
{
	return cfg->span_loss * cfg->span_unit / (double)span->n;
}

int
model_span_loss(const struct model *model, double *loss, struct err *err)
{
	const struct params *p = model->params;

	*loss = 0;
	for (int i = 0; i < p->n; i++) {
		const struct param *span = &p->list[i];
		float *value;
		double sum = 0;

		if (span->init != INIT_SPAN)
			continue;
		value = malloc(span->n * sizeof *value);
		if (!value)
			return err_set(err, "out of memory for the loss of tensor '%s'", span->name);
		model->op->get(value, model->weights[i], span->n * sizeof *value);
		for (size_t j = 0; j < span->n; j++)
			sum += (double)value[j];
		free(value);
		*loss += sum * share_of(model->cfg, span);
	}
	return 0;
}

int
span_gradients(const struct model *model, uint8_t *flags, struct err *err)
{
	const struct params *p = model->params;

	for (int i = 0; i < p->n; i++) {
		const struct param *span = &p->list[i];
		float *share;

		if (span->init != INIT_SPAN)
			continue;
		share = malloc(span->n * sizeof *share);
		if (!share)
			return err_set(err, "out of memory for the gradient of tensor '%s'", span->name);
		for (size_t j = 0; j < span->n; j++)
			share[j] = (float)share_of(model->cfg, span);
		model->op->put(model->gradients[i], share, span->n * sizeof *share);
		free(share);
		flags[i] = GRADIENT_SET;
	}
	return 0;
}
