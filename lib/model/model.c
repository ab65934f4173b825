/*
 * A model's life: open, place, close; and the batch in host memory that it is fed with.
 */
#include "model/model.h"

#include <stdlib.h>

#include "model/tape.h"

int
model_open(struct model *model, const struct config *cfg, const struct params *params, const struct op *op, int max,
           int train, enum precision precision, struct err *err)
{
	size_t n = (size_t)params->n;

	*model = (struct model){ .cfg = cfg,
		                 .params = params,
		                 .op = op,
		                 .max = max,
		                 .train = train,
		                 .precision = precision,
		                 .turns = op_on_host(op) ? 1 : TURNS,
		                 .image_row = -1 };
	if (!op->has(precision))
		return err_set(err, "the %s backend has no products in %s on this machine", op->name,
		               precision_name(precision));
	model->weights = calloc(n, sizeof *model->weights);
	model->packed = calloc(n, sizeof *model->packed);
	model->weights16 = calloc(n, sizeof *model->weights16);
	model->gradients = calloc(n, sizeof *model->gradients);
	if (model->weights && model->packed && model->weights16 && model->gradients)
		model->tape = tape_new(model);
	if (!model->tape) {
		model_close(model);
		return err_set(err, "out of memory for the model's tables");
	}
	return 0;
}

void
model_close(struct model *model)
{
	for (int i = 0; model->packed && i < model->params->n; i++)
		model->op->pack_free(model->packed[i]);
	free(model->packed);
	free(model->weights16);
	free(model->weights);
	free(model->gradients);
	tape_free(model->tape);
	if (model->probs)
		model->op->free(model->probs);
	*model = (struct model){ 0 };
}

size_t
model_tape_bytes(const struct model *model)
{
	return model->tape->bytes;
}

void
model_place(struct model *model, void *base)
{
	tape_place(model->tape, model, base);
}

int
batch_alloc(struct batch *batch, const struct config *cfg, int max, struct err *err)
{
	size_t B = (size_t)max, R = (size_t)cfg->objects;

	*batch = (struct batch){ .max = max };
	batch->language = calloc(B + 1, sizeof *batch->language);
	batch->regions = calloc(B + 1, sizeof *batch->regions);
	batch->image = calloc(B, sizeof *batch->image);
	batch->tokens = calloc(B * (size_t)cfg->max_tokens, sizeof *batch->tokens);
	batch->features = calloc(B * R * (size_t)cfg->features, sizeof *batch->features);
	batch->boxes = calloc(B * R * 4, sizeof *batch->boxes);
	if (!batch->language || !batch->regions || !batch->image || !batch->tokens || !batch->features ||
	    !batch->boxes) {
		batch_release(batch);
		return err_set(err, "out of memory for a batch of %d questions", max);
	}
	return 0;
}

void
batch_release(struct batch *batch)
{
	free(batch->language);
	free(batch->regions);
	free(batch->image);
	free(batch->tokens);
	free(batch->features);
	free(batch->boxes);
	*batch = (struct batch){ 0 };
}
