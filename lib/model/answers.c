/*
 * Answer records.
 */
#include "model/answers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kinds.h"

int
answers_open(struct answers *a, const struct config *config, int max, int top, int logits, const char *attention,
             struct err *err)
{
	*a = (struct answers){ .config = config, .top = top, .logits = logits, .attention = attention, .max = max };
	if (a->top > config->answers_n)
		a->top = config->answers_n;
	if (attention && attention_names_check(attention, config, err))
		return -1;
	a->order = calloc((size_t)config->answers_n, sizeof *a->order);
	a->matrices = calloc((size_t)max, sizeof *a->matrices);
	if (!a->order || !a->matrices) {
		answers_close(a);
		return err_set(err, "out of memory for the answers of %d questions", max);
	}
	return 0;
}

void
answers_close(struct answers *a)
{
	for (int b = 0; a->matrices && b < a->max; b++) {
		msgpack_sbuffer_destroy(&a->matrices[b].body);
		msgpack_sbuffer_destroy(&a->matrices[b].shapes);
	}
	free(a->matrices);
	free(a->order);
	*a = (struct answers){ 0 };
}

void
answers_take_attention(void *user, const char *name, int b, const float *probs, int H, int Tq, int Tk)
{
	struct answers *a = user;
	struct matrices *to = &a->matrices[b];
	msgpack_packer pack;

	if (!attention_wanted(a->attention, name))
		return;
	msgpack_packer_init(&pack, &to->body, msgpack_sbuffer_write);
	msgpack_pack_str_with_body(&pack, name, strlen(name));
	msgpack_pack_bin_with_body(&pack, probs, (size_t)H * (size_t)Tq * (size_t)Tk * sizeof *probs);
	msgpack_packer_init(&pack, &to->shapes, msgpack_sbuffer_write);
	msgpack_pack_str_with_body(&pack, name, strlen(name));
	msgpack_pack_array(&pack, 3);
	msgpack_pack_int(&pack, H);
	msgpack_pack_int(&pack, Tq);
	msgpack_pack_int(&pack, Tk);
	to->n++;
}

static void
put_map(struct rec_out *out, const char *key, const msgpack_sbuffer *contents, uint32_t n)
{
	msgpack_packer *pack = rec_put(out, key);

	msgpack_pack_map(pack, n);
	pack->callback(pack->data, contents->data ? contents->data : "", contents->size);
}

/* Without names, an answer is its index in decimal. */
static const char *
name_of(const struct config *config, int index, char plain[16])
{
	if (config->answers)
		return config->answers[index];
	snprintf(plain, 16, "%d", index);
	return plain;
}

static double
score_of(float logit)
{
	return 1 / (1 + exp(-(double)logit));
}

static int
by_logit(const void *x, const void *y, void *user)
{
	const float *logits = user;
	int a = *(const int *)x, b = *(const int *)y;

	if (logits[a] != logits[b])
		return logits[a] > logits[b] ? -1 : 1;
	return a - b;
}

static void
put_top(struct answers *a, struct rec_out *out, const float *logits)
{
	msgpack_packer *pack = rec_put(out, "top");
	char plain[16];

	for (int i = 0; i < a->config->answers_n; i++)
		a->order[i] = i;
	qsort_r(a->order, (size_t)a->config->answers_n, sizeof *a->order, by_logit, (void *)(uintptr_t)logits);
	msgpack_pack_array(pack, (size_t)a->top);
	for (int i = 0; i < a->top; i++) {
		const char *name = name_of(a->config, a->order[i], plain);

		msgpack_pack_array(pack, 2);
		msgpack_pack_str_with_body(pack, name, strlen(name));
		msgpack_pack_double(pack, score_of(logits[a->order[i]]));
	}
}

static int
best_of(const float *logits, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

static int
all_finite(const float *logits, int n)
{
	for (int i = 0; i < n; i++)
		if (!isfinite(logits[i]))
			return 0;
	return 1;
}

/* With its matrices: what they are about. */
static void
put_attention(struct rec_out *out, struct matrices *matrices, const struct collected *batch, int b)
{
	const struct asked *asked = &batch->asked[b];
	const int *at = &batch->batch.regions[batch->batch.image[b]];
	int first = at[0], regions = at[1] - first;

	if (asked->image_n)
		rec_put_text(out, "image", batch->text + asked->image, asked->image_n);
	if (asked->sent_n)
		rec_put_text(out, "sent", batch->text + asked->sent, asked->sent_n);
	rec_put_bin(out, "boxes", batch->batch.boxes + (size_t)first * 4, (size_t)regions * 4 * sizeof(float));
	put_map(out, "attention", &matrices->body, matrices->n);
	put_map(out, "attention_shape", &matrices->shapes, matrices->n);
	msgpack_sbuffer_clear(&matrices->body);
	msgpack_sbuffer_clear(&matrices->shapes);
	matrices->n = 0;
}

static int
send_answer(struct answers *a, struct rec_out *out, const struct collected *batch, int b, const float *logits,
            struct err *err)
{
	int A = a->config->answers_n, best = best_of(logits, A);
	int64_t id = batch->ids[b];
	char plain[16];
	const char *name = name_of(a->config, best, plain);

	if (!all_finite(logits, A))
		return err_set(err, "question %lld: its logits are not finite: the checkpoint's weights are broken",
		               (long long)id);
	rec_begin(out, "answer");
	rec_put_int(out, "id", id);
	rec_put_text(out, "answer", name, strlen(name));
	rec_put_int(out, "index", best);
	rec_put_real(out, "score", score_of(logits[best]));
	if (a->top)
		put_top(a, out, logits);
	if (a->logits)
		rec_put_bin(out, "logits", logits, (size_t)A * sizeof *logits);
	if (a->attention)
		put_attention(out, &a->matrices[b], batch, b);
	return rec_send(out, err);
}

int
answers_send(struct answers *a, struct rec_out *out, const struct collected *batch, const float *logits,
             struct err *err)
{
	for (int b = 0; b < batch->batch.n; b++)
		if (send_answer(a, out, batch, b, logits + (size_t)b * (size_t)a->config->answers_n, err))
			return -1;
	return 0;
}
