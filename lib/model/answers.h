/*
 * Answer records out of a batch's logits, with what was asked for: the top k, the logits, attention matrices.
 */
#ifndef VQA_MODEL_ANSWERS_H
#define VQA_MODEL_ANSWERS_H

#include "ckpt/config.h"
#include "model/collect.h"
#include "stream/record.h"

struct answers {
	const struct config *config;
	int top;    /* 0: none */
	int logits; /* whether records carry them */
	const char *
		attention; /* "all", or a comma list of kinds ("self-vision") and matrices ("self-vision.0"); NULL: none */
	struct matrices {                     /* of each question, while a batch is computed */
		msgpack_sbuffer body, shapes; /* maps' contents */
		uint32_t n;
	} * matrices; /* (batch) */
	int *order;   /* (answers_n): scratch */
	int max;
};

/* Every name in `attention` must be one of this configuration's. */
int answers_open(struct answers *answers, const struct config *config, int max, int top, int logits,
                 const char *attention, struct err *err);
void answers_close(struct answers *answers);
/* An attention_sink; user is the struct answers. */
void answers_take_attention(void *user, const char *name, int b, const float *probs, int H, int Tq, int Tk);
/* One record a question; logits (n, A). */
int answers_send(struct answers *answers, struct rec_out *out, const struct collected *batch, const float *logits,
                 struct err *err);

#endif
