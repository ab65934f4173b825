/*
 * What the memory of a backend holds, from the plan (model/tape.h), a line for each work, precision and batch of questions: weights with
 * gradients, moments and slow weights in training; activations. The same on a card and on a processor.
 *
 *     plan CKPT
 */
#include <stdio.h>

#include "ckpt/checkpoint.h"
#include "model/model.h"
#include "sys/die.h"

static const int batches[] = { 1, 32, 128, 512 };

int
main(int argc, char **argv)
{
	struct checkpoint ckpt;
	struct err err;
	const struct op *op = backend_open("cpu", &err);
	double weights = 0, factors = 0; /* values, in all; those that products read */

	if (argc != 2)
		die_usage("usage: plan CKPT");
	if (!op || checkpoint_open(&ckpt, argv[1], &err))
		die(&err);
	for (int i = 0; i < ckpt.params.n; i++) {
		weights += 1e-9 * (double)ckpt.params.list[i].n;
		factors += param_is_factor(&ckpt.params, i) * 1e-9 * (double)ckpt.params.list[i].n;
	}
	printf("work\tprecision\tbatch\tGB weights\tGB activations\n");
	for (int train = 0; train < 2; train++)
		for (int precision = PRECISION_F32; precision <= PRECISION_BF16; precision++)
			for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
				/*
				 * Weight, gradient, two moments, slow weight, and in bf16 room for a twin of each weight; for answers what
				 * products read is there in bf16 alone.
				 */
				const double half = precision == PRECISION_BF16 ? sizeof(bf16) : 0;
				const double bytes = train ? (5 * sizeof(float) + half) * weights
				                           : sizeof(float) * weights - half * factors;
				struct model model;

				if (model_open(&model, &ckpt.config, &ckpt.params, op, batches[i], train,
				               (enum precision)precision, &err))
					die(&err);
				printf("%s\t%s\t%d\t%.2f\t%.2f\n", train ? "training" : "answers",
				       precision_name((enum precision)precision), batches[i], bytes,
				       1e-9 * (double)model_tape_bytes(&model));
				model_close(&model);
			}
	return 0;
}
