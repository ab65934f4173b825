/*
 * Binary cross entropy with logits, in its stable form.
 */
#include "train/loss.h"

#include <math.h>
#include <string.h>

double
sigmoid(double x)
{
	return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static int
argmax(const float *x, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return best;
}

void
loss_compute(struct loss *loss, float *gradient, const float *logits, int B, int A, const struct target *targets,
             size_t targets_n)
{
	size_t n = (size_t)B * (size_t)A;
	double sum = 0;

	*loss = (struct loss){ 0 };
	memset(gradient, 0, n * sizeof *gradient); /* the targets, for now */
	for (size_t i = 0; i < targets_n; i++)
		gradient[(size_t)targets[i].row * (size_t)A + (size_t)targets[i].index] = targets[i].score;
	for (size_t row = 0; row < n; row += (size_t)A)
		loss->right += (double)gradient[row + (size_t)argmax(logits + row, A)];
	for (size_t i = 0; i < n; i++) {
		const double x = (double)logits[i], t = (double)gradient[i];

		sum += fmax(x, 0) - x * t + log1p(exp(-fabs(x)));
		gradient[i] = (float)((sigmoid(x) - t) / B);
	}
	loss->bce = sum / B;
}
