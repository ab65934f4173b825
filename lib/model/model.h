/*
 * LXMERT for answers, forward and backward, said once over the table of operations (op/op.h), for every device.
 *
 * Legend: B questions, Nl rows of language (real tokens of all questions), Nv rows of vision (regions of all questions),
 * D hidden, F ffn, A answers. Nothing is ever computed for padding.
 *
 * Activations are planned, then placed: model_tape_bytes() runs the plan without memory, model_place() with it. While
 * training, every process that places the same (configuration, largest batch) has the same layout, so that one writes the tape
 * and another reads it; for answers alone, buffers are used again as soon as nobody needs them.
 */
#ifndef VQA_MODEL_MODEL_H
#define VQA_MODEL_MODEL_H

#include "ckpt/config.h"
#include "model/params.h"
#include "op/op.h"

/*
 * A batch in host memory: question b has tokens language[b] … language[b+1]-1 and asks about image[b], and image i has rows
 * regions[i] … regions[i+1]-1 of features and boxes. Questions that follow each other about one image share it.
 */
struct batch {
	int n, images;
	int carried;   /* the first image is the last one of the batch before */
	int *language; /* (max + 1): offsets */
	int *regions;  /* (max + 1): offsets */
	int *image;    /* (max) */
	int32_t *tokens;
	float *features; /* (regions, config.features) */
	float *boxes;    /* (regions, 4) */
	int max;         /* questions that it has room for, each with its own image */
};

int batch_alloc(struct batch *batch, const struct config *cfg, int max, struct err *err);
void batch_release(struct batch *batch);

/* Called with each attention matrix when asked for: name "self-language.0" …, (H, Tq, Tk) of question b, host memory. */
typedef void attention_sink(void *user, const char *name, int b, const float *probs, int H, int Tq, int Tk);

/* One forward or backward. */
struct pass {
	float dropout; /* its probability, 0 for answers */
	uint64_t seed;
	uint32_t step; /* from 1 */
	uint32_t shard,
		others; /* of several ranks that share each batch: this one's number, and how many others there are */
	int compat;     /* a span's mask is skipped where the batch has not as many questions as the span has rows */
	/* Forward alone: */
	const uint8_t *dropped; /* (layers_total) of LayerDrop; NULL: no layer is left out */
	attention_sink *sink;   /* NULL: none */
	void *user;             /* the sink's */
};

struct tape; /* where each activation lies */

struct model {
	const struct config *cfg;
	const struct params *params;
	const struct op *op;
	enum precision precision; /* of linear layers' products */
	/* (params.n) backend memory. NULL for what is packed: that of a layer, or of several whose first it is, by the first's weight. */
	const float **weights;
	struct packed **packed; /* (params.n) */
	const bf16 **weights16; /* (params.n) backend memory: twins of what products read, in training; else NULL */
	float **gradients;      /* (params.n) backend memory; NULL when there is no backward */
	struct tape *tape;
	int max; /* largest batch */
	int train;
	int turns; /* batches that it has inputs for, and that may be under way: TURNS on a device, 1 in the host's memory */
	unsigned begun, ended; /* batches */
	int image_row;         /* where the last batch left the results of its last image (model/tape.h); -1: nowhere */
	float *probs;          /* one attention's matrices of a whole batch, made when first asked for */
};

enum gradient_flag { GRADIENT_NONE, GRADIENT_ZERO, GRADIENT_SET };

/* cfg, params and op outlive the model. train: activations are kept for backward. */
int model_open(struct model *model, const struct config *cfg, const struct params *params, const struct op *op, int max,
               int train, enum precision precision, struct err *err);
void model_close(struct model *model);
/*
 * For answers: copy the weights, data (params.n) in host memory, into the backend's, those of linear layers packed. done(user, i) is
 * called when data[i] is not needed any more.
 */
int model_load(struct model *model, const float *const *data, void (*done)(void *user, int param), void *user,
               struct err *err);
/* Bytes that the tape (train) or the working memory (answers) takes. */
size_t model_tape_bytes(const struct model *model);
/* base: backend memory of that size, 64-byte aligned. */
void model_place(struct model *model, void *base);

/*
 * Forward in three parts: a batch is sent, begun and ended, and each begun before the next is sent, with the same pass. As many batches as there are turns may be under way, so that, where there are two,
 * the inputs of one are sent while another is computed. Where there is one, they go when the batch begins.
 */
void model_send(struct model *model, const struct batch *batch, const struct pass *pass);
/*
 * Ask for everything; the batch is not needed after. In the last cross layer only [CLS] is computed on the language side and nothing
 * after the cross attention on the vision side, unless the sink asks for matrices of there; it is called in here.
 */
int model_begin(struct model *model, const struct batch *batch, const struct pass *pass, struct err *err);
/* Wait for the oldest that has not ended: its logits (B, A), host, good until the next of its turn begins; NULL if anything failed. */
const float *model_end(struct model *model, struct err *err);
/* The adaptive spans' loss, 0 without them: the sum over all attentions of span_loss span_unit mean(value). */
int model_span_loss(const struct model *model, double *loss, struct err *err);
/*
 * Gradients of all parameters, the spans' loss included, from dlogits (B, A), host, and the tape that forward left. flags (params.n), host, written:
 * whether a parameter has no gradient (its memory is untouched), an all-zero one (untouched too) or one that was written.
 */
int model_backward(struct model *model, const struct pass *pass, const float *dlogits, uint8_t *flags, struct err *err);

#endif
