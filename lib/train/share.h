/*
 * The memory that the training programs share: one sealed memfd, owned by vqa-forward, that holds
 *
 *     [weights: safetensors image][gradients: safetensors image][flags: a byte a parameter; device][twins][tape]
 *
 * each part on a page boundary. The weights' image carries the configuration, so whoever maps the memory knows all sizes. Twins: where
 * products are in bf16, room for each parameter once more in bf16, from a multiple of 64 bytes on; who writes the weight of a linear layer
 * writes its twin, too. The tape has no header: every program runs the same plan (model/tape.h) for the largest batch.
 * Nothing of it has a name in a file system: it is gone with the last process.
 *
 * Where backend memory is a device's, a block of the same size and layout lies there, and weights, gradients, twins and tape are in that;
 * of the memfd only headers, flags and `device` are used: which device, and the loan of its block. Its other pages are never touched, and so
 * take no memory, until somebody fetches tensors to the host.
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
	uint8_t *base;   /* the memfd */
	uint8_t *memory; /* backend memory of the same layout: base, or a device's block */
	const struct op *op;
	int owner; /* of the block */
	struct share_plan plan;
	struct config config;
	struct params params;
	float **weights, **gradients; /* (params.n), into backend memory */
	bf16 **twins;                 /* (params.n), into backend memory; NULL for what no product reads in bf16 */
	uint8_t *flags;               /* (params.n): enum gradient_flag */
};

/*
 * The owner: make the memory for batches of up to `batch` questions, whose products are of that precision, and copy the
 * checkpoint's weights into it.
 */
int share_create(struct share *share, const struct checkpoint *ckpt, int batch, enum precision precision,
                 const struct op *op, struct err *err);
/* A member: map what the owner handed out. Takes over fd. Backend memory is reached after share_use(). */
int share_map(struct share *share, int fd, const struct share_plan *plan, struct err *err);
/* The device that the owner computes on, for backend_open(). */
const char *share_device(const struct share *share);
/* A member: compute with op, of that device. */
int share_use(struct share *share, const struct op *op, struct err *err);
/* n values of weights or gradients in host memory: where they are, or in a copy in the memfd, which share_put() brings back. */
float *share_get(const struct share *share, const float *at, size_t n);
void share_put(const struct share *share, float *at, size_t n);
/* out (params.n): all weights or gradients, `tensors`, in host memory. */
void share_fetch(const struct share *share, float *const *tensors, float **out);
/* A model whose weights, gradients and tape lie in the memory. */
int share_model(struct share *share, struct model *model, const struct op *op, struct err *err);
void share_close(struct share *share);

#endif
