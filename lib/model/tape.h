/*
 * Where each activation lies. Inside lib/model only.
 *
 * While training every buffer has a place of its own, so that backward finds it; for answers alone (answers mode) a side's
 * hidden states take turns in three buffers and everything inside a block shares one scratch region. A pointer that only
 * backward reads is NULL in answers mode. Rows are those of the largest batch.
 *
 * Where products are in bf16, what they read is there in bf16: beside the float32 that a residual or backward reads, or alone.
 */
#ifndef VQA_MODEL_TAPE_H
#define VQA_MODEL_TAPE_H

#include "model/layerdrop.h"
#include "model/model.h"

enum side { LANGUAGE, VISION };

/* What a product reads: in float32, or in bf16, or in both. */
struct state {
	float *f32;
	bf16 *b16;
};

/* Without a twin: a product rounds it itself. */
static inline struct state
plain(float *f32)
{
	return (struct state){ .f32 = f32 };
}

struct norm_tape {
	struct state out; /* (N, D): the block's result */
	float *xhat;      /* (N, D): normalised */
	float *rstd;      /* (N) */
	uint32_t site;    /* of the dropout before it */
};

struct attention_tape {
	float *q;             /* (Nq, D) */
	float *k, *v;         /* (Nk, D), row stride kv_stride */
	int kv_stride;        /* D, or 2 D where one product makes both */
	struct state context; /* (Nq, D): probabilities times values; one of both */
	float *stats;         /* (Nq, H, 2) */
	uint32_t site;        /* of the dropout on the probabilities */
	struct norm_tape norm;
};

struct ffn_tape {
	float *pre;         /* (N, F): before GELU */
	struct state inter; /* (N, F): after it; one of both */
	struct norm_tape norm;
};

struct layer_tape {
	struct attention_tape self;
	struct ffn_tape ffn;
};

struct cross_tape {
	struct attention_tape language_cross, vision_cross; /* the same weights, both ways */
	struct attention_tape language_self, vision_self;
	struct ffn_tape language_ffn, vision_ffn;
};

/*
 * Answers mode: what the vision stack and the first cross layer's products made of each image, once for all its questions, in rows
 * of images. The first `objects` rows are for the image that came from the batch before, the others for the batch's new ones.
 */
struct image_tape {
	float *x;  /* (N, D): the stack's result */
	float *q;  /* (N, D): what vision asks */
	float *kv; /* (N, 2 D): what it answers, keys and values */
	int *off;  /* (max + 1) HOST: offsets of the new images */
	int *row;  /* (Nv) HOST: where a row of a question's image lies */
};

/*
 * What backward needs to know of the batch, one block of ints: n, the turn of its inputs, language (max + 1), vision (max + 1),
 * cls (max + 1), dropped (layers_total), tokens.
 */
struct batch_tape {
	int *host;   /* this process's copy */
	int *shared; /* backend memory, in training */
	size_t ints;
	int *n, *turn;                   /* into host */
	int *language, *vision;          /* into host: offsets of places */
	int *cls;                        /* 0, 1, … n: one row a question */
	int *dropped_all;                /* (layers_total) in layerdrop.h's order: 1 where a layer was left out */
	int *dropped[2], *dropped_cross; /* its parts: of a side's stack, of the cross layers */
	int *tokens;
};

/* Working memory of backward; D wide unless said. */
struct backward_tape {
	float *state[2][2]; /* a side's gradient by its hidden states, two that take turns */
	float *dense;       /* (N, D): by a block's dense output */
	float *context, *q, *k, *v;
	float *inter;  /* (N, F) */
	float *cls[2]; /* (B, D) that take turns */
	float *head;   /* (B, 2D) */
	float *logits; /* (B, A) */
};

struct tape {
	void *base; /* where it was placed; NULL before */
	size_t bytes;
	struct batch_tape batch;
	struct input_tape {
		float *features, *boxes; /* (Nv, features), (Nv, 4) */
	} inputs[TURNS]; /* of as many as the model has turns: backward may still read one while the next batch's are sent */
	struct norm_tape embedding; /* site: of the dropout after it */
	struct state embedded;      /* (Nl, D): embedding after dropout, the language stack's input */
	struct norm_tape feature, box;
	struct state seen; /* (Nv, D): their average after dropout, the vision stack's input */
	uint32_t seen_site;
	struct image_tape image;
	struct layer_tape *language, *vision;
	struct cross_tape *cross;
	float *cls;      /* (B, D): [CLS] before the last self attention (at the end, where all is computed) */
	float *pooled;   /* (B, D) */
	float *head_pre; /* (B, 2D): before GELU */
	struct norm_tape head;
	float *logits; /* (B, A) */
	struct backward_tape backward;
};

struct tape *tape_new(const struct model *model);
void tape_free(struct tape *tape);
/* Run the plan; base NULL only measures. */
void tape_place(struct tape *tape, const struct model *model, void *base);

/* What forward computes of a batch. */
struct intake {
	struct rows rows[2]; /* of LANGUAGE, VISION; the latter of images that are not known yet, where once is set */
	struct rows cls;     /* one row a question */
	int once;            /* the vision side is that of images, not of questions */
	const int *image;    /* (B): the image of a question */
	int turn;            /* of its inputs, and of its logits */
};

/* Put the batch into the model's tape. */
void intake(struct intake *in, struct model *model, const struct batch *batch, const struct pass *pass);

/* The last cross layer that was not left out, -1 if all were: of it only what reaches [CLS] is computed. */
int tape_last_cross(const struct tape *tape, const struct config *cfg);

/* Dropout number `site` of a pass, over rows of a side. */
static inline struct dropout
tape_dropout(const struct model *model, const struct pass *pass, uint32_t site, enum side side)
{
	return (struct dropout){ .p = pass->dropout,
		                 .seed = pass->seed,
		                 .step = pass->step,
		                 .shard = pass->shard,
		                 .others = pass->others,
		                 .site = site,
		                 .stride =
		                         (uint32_t)(side == LANGUAGE ? model->cfg->max_tokens : model->cfg->objects) };
}

/* An attention of the model, the same at forward and backward: the queries are of a side, the keys of a side. */
struct attention_use {
	const struct attention_param *p;
	const struct attention_tape *t;
	enum side side, of; /* of the queries, whose dropout is counted; of the keys */
	struct state x, y;  /* the queries' hidden states, the keys' */
	struct rows queries, keys;
	const float *q, *kv; /* by rows of images, made already; NULL: products of x, of y */
};

/* All rows x of a side ask; all rows y of a side answer. */
static inline struct attention_use
attention_between(const struct rows rows[2], const struct attention_param *p, const struct attention_tape *t,
                  enum side side, struct state x, enum side of, struct state y)
{
	return (struct attention_use){
		.p = p, .t = t, .side = side, .of = of, .x = x, .y = y, .queries = rows[side], .keys = rows[of]
	};
}

/* Whether a span has a row a place in a batch of n: then what becomes of an image goes by its question's place. */
int tape_spans_by_place(const struct model *model, const struct pass *pass, int n);

/* What it asks of the backend; the gradients, probs, and out at backward are the caller's. */
struct attention tape_attention(const struct model *model, const struct pass *pass, const struct attention_use *use);

/* Each span's gradient by its loss, written: a span moves whatever becomes of its attention, whose part is added then. */
int span_gradients(const struct model *model, uint8_t *flags, struct err *err);

#endif
