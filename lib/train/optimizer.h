/*
 * A step: clip, LAMB or AdamW, Lookahead, clamp; the learning rate's schedule (reference: learner.py, optimizers/).
 */
#ifndef VQA_TRAIN_OPTIMIZER_H
#define VQA_TRAIN_OPTIMIZER_H

#include <stdint.h>

#include "model/params.h"
#include "op/op.h"

enum optimizer_kind { OPTIMIZER_LAMB, OPTIMIZER_ADAMW };
enum schedule { SCHEDULE_CYCLIC, SCHEDULE_CONSTANT, SCHEDULE_LINEAR };

struct optimizer_settings {
	enum optimizer_kind kind;
	enum schedule schedule;
	double lr, max_lr; /* cyclic and linear go between them */
	int64_t step_size; /* steps from lr to max_lr */
	int64_t total;     /* linear: steps until lr is reached again */
	double weight_decay;
	double clip;       /* largest norm of all gradients together; 0: off */
	int64_t lookahead; /* steps between syncs; 0: off */
	double lookahead_alpha;
	int keep_alphas; /* in [1.01, 2] after each step; the reference lets them go */
};

struct optimizer {
	struct optimizer_settings set;
	const struct params *params;
	const struct op *op;
	float **m, **v; /* (params.n): moments; NULL for a parameter that never had a gradient */
	float **slow;   /* (params.n): Lookahead's; NULL before its first sync */
	size_t *counts; /* (params.n), with sums: what optimizer_norm() asks for */
	double *sums;
	struct lamb *lamb; /* (params.n), and those below: what optimizer_step() asks for */
	struct adamw *adamw;
	struct lookahead *lookahead;
	struct clamp *clamp;
};

int optimizer_open(struct optimizer *o, const struct optimizer_settings *set, const struct params *params,
                   const struct op *op, struct err *err);
void optimizer_close(struct optimizer *o);
/* A zeroed buffer for parameter i's m, v or slow, if it has none yet. */
int optimizer_room(struct optimizer *o, float **buffers, int i, struct err *err);

/*
 * The learning rate after `done` updates:
 *     cyclic   lr + (max_lr - lr)(1 - |(done mod 2 S)/S - 1|), S = step_size (reference: CyclicLR, triangular)
 *     linear   max_lr (done + 1)/S for S steps, then down to lr at `total`
 *     constant lr
 */
double optimizer_rate(const struct optimizer_settings *set, int64_t done);

/* The norm of all gradients that are set. Not finite: *worst is the first such tensor, else -1. */
double optimizer_norm(const struct optimizer *o, float *const *gradients, const uint8_t *flags, int *worst);

/*
 * Update number `step` (from 1) of the weights, with that norm and rate. A parameter without gradient is not touched before it had
 * one; from then on it has one of zero, as in the reference's torch (1.x): a layer that LayerDrop leaves out goes on by its momentum.
 * A weight that has a twin in bf16 leaves its new value there, too. Spans are kept in [0, 1], Lookahead's slow ones not (reference: models/adaptive_span.py, learner.py).
 */
int optimizer_step(struct optimizer *o, float **weights, bf16 *const *twins, float *const *gradients,
                   const uint8_t *flags, int64_t step, double norm, double rate, struct err *err);

#endif
