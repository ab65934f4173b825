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
	o->lamb = calloc(n, sizeof *o->lamb);
	o->adamw = calloc(n, sizeof *o->adamw);
	o->lookahead = calloc(n, sizeof *o->lookahead);
	o->clamp = calloc(n, sizeof *o->clamp);
	if (o->m && o->v && o->slow && o->counts && o->sums && o->lamb && o->adamw && o->lookahead && o->clamp)
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
	free(o->lamb);
	free(o->adamw);
	free(o->lookahead);
	free(o->clamp);
	o->m = o->v = o->slow = NULL;
	o->counts = NULL;
	o->sums = NULL;
	o->lamb = NULL;
	o->adamw = NULL;
	o->lookahead = NULL;
	o->clamp = NULL;
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

/* What one step is about. */
struct step {
	float **weights;
	bf16 *const *twins;
	float *const *gradients;
	const uint8_t *flags;
	int64_t number;
	double scale, rate;
	int sync; /* of Lookahead */
};

/* Parameter i's; twin NULL where another writes it. */
static struct lamb
lamb_of(const struct optimizer *o, const struct step *s, int i, bf16 *twin)
{
	return (struct lamb){ .param = s->weights[i],
		              .m = o->m[i],
		              .v = o->v[i],
		              .twin = twin,
		              .grad = s->flags[i] == GRADIENT_SET ? s->gradients[i] : NULL,
		              .n = o->params->list[i].n,
		              .scale = s->scale,
		              .lr = s->rate,
		              .beta1 = BETA1,
		              .beta2 = BETA2,
		              .eps = LAMB_EPS,
		              .weight_decay = o->set.weight_decay,
		              .min_trust = LAMB_MIN_TRUST };
}

static struct adamw
adamw_of(const struct optimizer *o, const struct step *s, int i, bf16 *twin)
{
	return (struct adamw){ .param = s->weights[i],
		               .m = o->m[i],
		               .v = o->v[i],
		               .twin = twin,
		               .grad = s->flags[i] == GRADIENT_SET ? s->gradients[i] : NULL,
		               .n = o->params->list[i].n,
		               .scale = s->scale,
		               .lr = s->rate,
		               .beta1 = BETA1,
		               .beta2 = BETA2,
		               .eps = ADAMW_EPS,
		               .weight_decay = o->set.weight_decay,
		               .t = s->number };
}

static struct lookahead
lookahead_of(const struct optimizer *o, const struct step *s, int i)
{
	return (struct lookahead){ .param = s->weights[i],
		                   .slow = o->slow[i],
		                   .twin = s->twins[i],
		                   .n = o->params->list[i].n,
		                   .alpha = o->set.lookahead_alpha };
}

/* The last operation of a step that changes a weight writes its twin. */
static int
update(struct optimizer *o, const struct step *s, struct err *err)
{
	int n = 0;

	for (int i = 0; i < o->params->n; i++) {
		bf16 *twin = s->sync && o->slow[i] ? NULL : s->twins[i];

		if (s->flags[i] == GRADIENT_NONE && !o->m[i])
			continue;
		if (optimizer_room(o, o->m, i, err) || optimizer_room(o, o->v, i, err))
			return -1;
		if (o->set.kind == OPTIMIZER_LAMB)
			o->lamb[n++] = lamb_of(o, s, i, twin);
		else
			o->adamw[n++] = adamw_of(o, s, i, twin);
	}
	if (o->set.kind == OPTIMIZER_LAMB)
		o->op->lamb(o->lamb, n);
	else
		o->op->adamw(o->adamw, n);
	return 0;
}

/* The first sync only remembers the fast weights (reference: optimizers/lookahead.py). */
static int
look_ahead(struct optimizer *o, const struct step *s, struct err *err)
{
	int n = 0;

	for (int i = 0; i < o->params->n; i++) {
		if (!o->m[i])
			continue;
		if (o->slow[i]) {
			o->lookahead[n++] = lookahead_of(o, s, i);
			continue;
		}
		if (optimizer_room(o, o->slow, i, err))
			return -1;
		o->op->copy(o->slow[i], s->weights[i], o->params->list[i].n * sizeof *s->weights[i]);
	}
	o->op->lookahead(o->lookahead, n);
	return 0;
}

/* Spans, and alphas where they are kept: at each step's end. No product reads them, and they have no twins. */
static int
clamped(const struct optimizer *o, int i)
{
	const enum init init = o->params->list[i].init;

	return init == INIT_SPAN || (init == INIT_ALPHA && o->set.keep_alphas);
}

static void
clamp(struct optimizer *o, const struct step *s)
{
	int n = 0;

	for (int i = 0; i < o->params->n; i++) {
		const struct param *p = &o->params->list[i];
		const int span = p->init == INIT_SPAN;

		if (o->m[i] && clamped(o, i))
			o->clamp[n++] = (struct clamp){ .x = s->weights[i],
				                        .n = p->n,
				                        .low = span ? SPAN_LOW : ALPHA_LOW,
				                        .high = span ? SPAN_HIGH : ALPHA_HIGH };
	}
	o->op->clamp(o->clamp, n);
}

int
optimizer_step(struct optimizer *o, float **weights, bf16 *const *twins, float *const *gradients, const uint8_t *flags,
               int64_t step, double norm, double rate, struct err *err)
{
	const struct optimizer_settings *set = &o->set;
	const double scale = set->clip > 0 && set->clip / (norm + CLIP_EPS) < 1 ? set->clip / (norm + CLIP_EPS) : 1;
	const struct step s = { .weights = weights,
		                .twins = twins,
		                .gradients = gradients,
		                .flags = flags,
		                .number = step,
		                .scale = scale,
		                .rate = rate,
		                .sync = set->lookahead && step % set->lookahead == 0 };

	if (update(o, &s, err) || (s.sync && look_ahead(o, &s, err)))
		return -1;
	clamp(o, &s);
	return o->op->sync(err);
}
