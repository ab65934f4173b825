/*
 * The loss and its gradient, from logits and soft targets alone; and the metric that goes with it.
 */
#ifndef VQA_TRAIN_LOSS_H
#define VQA_TRAIN_LOSS_H

#include <stddef.h>

#include "model/collect.h"

struct loss {
	double bce; /* sum over answers, mean over questions (reference: BCEWithLogitsLoss's mean times the answers) */
	double right; /* sum over questions of the target's score of the largest logit */
};

/*
 * logits (B, A); targets: scores not named are 0, of one named twice the last counts. gradient (B, A) written: (sigmoid(x) - t)/B.
 * bce = 1/B sum max(x, 0) - x t + log(1 + exp(-|x|)), in double.
 */
void loss_compute(struct loss *loss, float *gradient, const float *logits, int B, int A, const struct target *targets,
                  size_t targets_n);

double sigmoid(double x);

#endif
