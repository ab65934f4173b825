/*
 * The memory that the training programs share: one sealed memfd, owned by vqa-forward, that holds
 *
 *     [weights: safetensors image][gradients: safetensors image][flags: a byte a parameter][twins][tape]
 *
 * each part on a page boundary. The weights' image carries the configuration, so whoever maps the memory knows all sizes. Twins: where
 * products are in bf16, room for each parameter once more in bf16, from a multiple of 64 bytes on; who writes the weight of a linear layer
 * writes its twin, too. The tape has no header: every program runs the same plan (model/tape.h) for the largest batch.
 * Nothing of it has a name in a file system: it is gone with the last process.
 */
#ifndef VQA_TRAIN_SHARE_H
#define VQA_TRAIN_SHARE_H

#include <stdint.h>

#include "ckpt/checkpoint.h"
#include "model/model.h"

/* Where the parts lie: what the owner tells a member. */
struct share_plan {
	uint64_t size, weights, weights_size, gradients, gradients_size, flags, tape;
	uint32_t batch, precision; /* enum precision */
};

struct share {
	int fd;
	uint8_t *base;
	struct share_plan plan;
	struct config config;
	struct params params;
	float **weights, **gradients; /* (params.n), into the memory */
	bf16 **twins;                 /* (params.n), into the memory; NULL for what no product reads in bf16 */
	uint8_t *flags;               /* (params.n): enum gradient_flag */
};

/*
 * The owner: make the memory for batches of up to `batch` questions, whose products are of that precision, and copy the
 * checkpoint's weights into it.
 */
int share_create(struct share *share, const struct checkpoint *ckpt, int batch, enum precision precision,
                 const struct op *op, struct err *err);
/* A member: map what the owner handed out. Takes over fd. */
int share_map(struct share *share, int fd, const struct share_plan *plan, struct err *err);
/* A model whose weights, gradients and tape lie in the memory. */
int share_model(struct share *share, struct model *model, const struct op *op, struct err *err);
void share_close(struct share *share);

#endif
