/*
 * What the memory of a backend holds, a line for each work, precision and batch of questions: weights, with gradients, moments and slow
 * weights in training; activations. It is what the programs ask a device's backend for, counted by one that makes none of it. A
 * processor has the inputs of a batch less.
 *
 *     plan CKPT
 */
#include <stdio.h>

#include "ckpt/checkpoint.h"
#include "model/model.h"
#include "sys/die.h"
#include "train/optimizer.h"
#include "train/share.h"

static const int batches[] = { 1, 32, 128, 512 };

/* --- The backend that counts: nothing is written to what it gives. */

static size_t asked; /* bytes */

static void *
count(size_t bytes)
{
	asked += bytes;
	return &asked;
}

static struct packed *
count_pack(const struct pack *p)
{
	const size_t factor = p->precision == PRECISION_BF16 ? sizeof(bf16) : sizeof(float);

	return count((size_t)p->parts * (size_t)p->O * ((size_t)p->I * factor + sizeof(float)));
}

static int
has(enum precision precision)
{
	(void)precision;
	return 1;
}

static int
lend(const void *memory, struct loan *loan, struct err *err)
{
	(void)memory, (void)loan, (void)err;
	return 0;
}

static void
put(void *dst, const void *host, size_t bytes)
{
	(void)dst, (void)host, (void)bytes;
}

static void
narrow(bf16 *out, const float *x, size_t n)
{
	(void)out, (void)x, (void)n;
}

static void
zero(void *dst, size_t bytes)
{
	(void)dst, (void)bytes;
}

static int
sync_nothing(struct err *err)
{
	(void)err;
	return 0;
}

static void
free_nothing(void *memory)
{
	(void)memory;
}

static void
free_pack(struct packed *p)
{
	(void)p;
}

static const struct op counting = { .size = sizeof(struct op),
	                            .name = "counting",
	                            .alloc = count,
	                            .free = free_nothing,
	                            .put = put,
	                            .zero = zero,
	                            .lend = lend,
	                            .pack = count_pack,
	                            .pack_free = free_pack,
	                            .has = has,
	                            .sync = sync_nothing,
	                            .narrow = narrow };

/* --- What is asked for; bytes of activations are returned. */

static void
keep_all(void *user, int param)
{
	(void)user, (void)param;
}

static size_t
answers(const struct checkpoint *ckpt, int batch, enum precision precision)
{
	struct model model;
	struct err err;
	size_t activations;

	if (model_open(&model, &ckpt->config, &ckpt->params, &counting, batch, 0, precision, &err) ||
	    model_load(&model, ckpt->data, keep_all, NULL, &err))
		die(&err);
	activations = model_tape_bytes(&model);
	count(activations);
	model_close(&model);
	return activations;
}

static size_t
training(const struct checkpoint *ckpt, int batch, enum precision precision)
{
	const struct optimizer_settings set = { 0 };
	struct optimizer optimizer;
	struct share share;
	struct err err;
	size_t activations;

	if (share_create(&share, ckpt, batch, precision, &counting, &err) ||
	    optimizer_open(&optimizer, &set, &share.params, &counting, &err))
		die(&err);
	for (int i = 0; i < share.params.n; i++)
		if (optimizer_room(&optimizer, optimizer.m, i, &err) ||
		    optimizer_room(&optimizer, optimizer.v, i, &err) ||
		    optimizer_room(&optimizer, optimizer.slow, i, &err))
			die(&err);
	activations = share.plan.size - share.plan.tape;
	optimizer_close(&optimizer);
	share_close(&share);
	return activations;
}

static void
line(const struct checkpoint *ckpt, int train, enum precision precision, int batch)
{
	size_t activations;

	asked = 0;
	activations = train ? training(ckpt, batch, precision) : answers(ckpt, batch, precision);
	printf("%s\t%s\t%d\t%.2f\t%.2f\n", train ? "training" : "answers", precision_name(precision), batch,
	       1e-9 * (double)(asked - activations), 1e-9 * (double)activations);
}

int
main(int argc, char **argv)
{
	struct checkpoint ckpt;
	struct err err;

	if (argc != 2)
		die_usage("usage: plan CKPT");
	if (checkpoint_open(&ckpt, argv[1], &err))
		die(&err);
	printf("work\tprecision\tbatch\tGB weights\tGB activations\n");
	for (int train = 0; train < 2; train++)
		for (int precision = PRECISION_F32; precision <= PRECISION_BF16; precision++)
			for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
				line(&ckpt, train, (enum precision)precision, batches[i]);
	return 0;
}
