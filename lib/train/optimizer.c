/*
 * The optimizer's arithmetic over all parameters, in the order of the reference's learner.py.
 */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "model/model.h"

/* The reference's constants (optimizers/lamb.py), and torch's AdamW eps. */
static const double BETA1 = 0.9, BETA2 = 0.999, LAMB_EPS = 1e-6, LAMB_MIN_TRUST = 0.25, ADAMW_EPS = 1e-8,
		    CLIP_EPS = 1e-6;
static const float ALPHA_LOW = 1.01f, ALPHA_HIGH = 2, SPAN_LOW = 0, SPAN_HIGH = 1;

int
optimizer_open(struct optimizer *o, const struct optimizer_settings *set, const struct params *params,
               const struct op *op, struct err *err)
{
	size_t n = (size_t)params->n;

	*o = (struct optimizer){ .set = *set, .params = params, .op = op };
	o->m = calloc(n, sizeof *o->m);
	o->v = calloc(n, sizeof *o->v);
	o->slow = calloc(n, sizeof *o->slow);
	o->counts = calloc(n, sizeof *o->counts);
	o->sums = calloc(n, sizeof *o->sums);
	if (o->m && o->v && o->slow && o->counts && o->sums)
		return 0;
	optimizer_close(o);
	return err_set(err, "out of memory for the optimizer");
}

void
optimizer_close(struct optimizer *o)
{
	float **const all[] = { o->m, o->v, o->slow };

	for (int k = 0; k < 3; k++) {
		for (int i = 0; all[k] && i < o->params->n; i++)
			if (all[k][i])
				o->op->free(all[k][i]);
		free(all[k]);
	}
	free(o->counts);
	free(o->sums);
	o->m = o->v = o->slow = NULL;
	o->counts = NULL;
	o->sums = NULL;
}

int
optimizer_room(struct optimizer *o, float **buffers, int i, struct err *err)
{
	size_t bytes = o->params->list[i].n * sizeof(float);

	if (buffers[i])
		return 0;
	buffers[i] = o->op->alloc(bytes);
	if (!buffers[i])
		return err_set(err, "out of memory for the optimizer's part of tensor '%s'", o->params->list[i].name);
	o->op->zero(buffers[i], bytes);
	return 0;
}

double
optimizer_rate(const struct optimizer_settings *set, int64_t done)
{
	const double S = (double)set->step_size;

	switch (set->schedule) {
	case SCHEDULE_CYCLIC:
		return set->lr + (set->max_lr - set->lr) * (1 - fabs((double)(done % (2 * set->step_size)) / S - 1));
	case SCHEDULE_LINEAR:
		if (done < set->step_size)
			return set->max_lr * (double)(done + 1) / S;
		if (done >= set->total)
			return set->lr;
		return set->max_lr + (set->lr - set->max_lr) * ((double)done - S) / ((double)set->total - S);
	case SCHEDULE_CONSTANT:
		break;
	}
	return set->lr;
}

double
optimizer_norm(const struct optimizer *o, float *const *gradients, const uint8_t *flags, int *worst)
{
	double sum = 0;

	*worst = -1;
	for (int i = 0; i < o->params->n; i++)
		o->counts[i] = flags[i] == GRADIENT_SET ? o->params->list[i].n : 0;
	o->op->sumsq(o->sums, (const float *const *)gradients, o->counts, o->params->n);
	for (int i = 0; i < o->params->n; i++) {
		if (!isfinite(o->sums[i]) && *worst < 0)
			*worst = i;
		sum += o->sums[i];
	}
	return sqrt(sum);
}

static void
update(struct optimizer *o, int i, float *weight, const float *gradient, int64_t step, double scale, double rate)
{
	const struct optimizer_settings *set = &o->set;
	size_t n = o->params->list[i].n;

	if (set->kind == OPTIMIZER_LAMB)
		o->op->lamb(&(struct lamb){ .param = weight,
		                            .m = o->m[i],
		                            .v = o->v[i],
		                            .grad = gradient,
		                            .n = n,
		                            .scale = scale,
		                            .lr = rate,
		                            .beta1 = BETA1,
		                            .beta2 = BETA2,
		                            .eps = LAMB_EPS,
		                            .weight_decay = set->weight_decay,
		                            .min_trust = LAMB_MIN_TRUST });
	else
		o->op->adamw(&(struct adamw){ .param = weight,
		                              .m = o->m[i],
		                              .v = o->v[i],
		                              .grad = gradient,
		                              .n = n,
		                              .scale = scale,
		                              .lr = rate,
		                              .beta1 = BETA1,
		                              .beta2 = BETA2,
		                              .eps = ADAMW_EPS,
		                              .weight_decay = set->weight_decay,
		                              .t = step });
}

/* The first sync only remembers the fast weights (reference: optimizers/lookahead.py). */
static int
look_ahead(struct optimizer *o, int i, float *weight, struct err *err)
{
	size_t n = o->params->list[i].n;
	int first = !o->slow[i];

	if (optimizer_room(o, o->slow, i, err))
		return -1;
	if (first)
		o->op->add(o->slow[i], weight, n);
	else
		o->op->lookahead(&(struct lookahead){ weight, o->slow[i], n, o->set.lookahead_alpha });
	return 0;
}

int
optimizer_step(struct optimizer *o, float **weights, bf16 *const *twins, float *const *gradients, const uint8_t *flags,
               int64_t step, double norm, double rate, struct err *err)
{
	const struct optimizer_settings *set = &o->set;
	double scale = set->clip > 0 && set->clip / (norm + CLIP_EPS) < 1 ? set->clip / (norm + CLIP_EPS) : 1;

	for (int i = 0; i < o->params->n; i++) {
		if (flags[i] == GRADIENT_NONE && !o->m[i])
			continue;
		if (optimizer_room(o, o->m, i, err) || optimizer_room(o, o->v, i, err))
			return -1;
		update(o, i, weights[i], flags[i] == GRADIENT_SET ? gradients[i] : NULL, step, scale, rate);
		if (set->lookahead && step % set->lookahead == 0 && look_ahead(o, i, weights[i], err))
			return -1;
		if (set->keep_alphas && o->params->list[i].init == INIT_ALPHA)
			o->op->clamp(weights[i], o->params->list[i].n, ALPHA_LOW, ALPHA_HIGH);
		if (o->params->list[i].init == INIT_SPAN)
			o->op->clamp(weights[i], o->params->list[i].n, SPAN_LOW, SPAN_HIGH);
		if (twins[i])
			o->op->narrow(twins[i], weights[i], o->params->list[i].n);
	}
	return o->op->sync(err);
}
