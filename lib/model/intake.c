/*
 * A batch into the tape: its description, its inputs, and which of its images have to be computed.
 */
#include <string.h>

#include "model/tape.h"

/*
 * Images once: rows[VISION] become those of images that are not known already, and where the rows of questions will find theirs
 * is noted. An image that came from the batch before has its results moved to the first rows.
 */
static void
take_images(struct intake *in, struct model *m, const struct batch *batch, int want_attention)
{
	const struct config *cfg = m->cfg;
	const struct image_tape *image = &m->tape->image;
	size_t D = (size_t)cfg->hidden;
	int known = batch->carried && m->image_row >= 0 && !want_attention;
	int rows = batch->regions[1], n = 0;

	if (known && m->image_row > 0) {
		size_t from = (size_t)m->image_row, count = (size_t)rows * D;

		m->op->copy(image->x, image->x + from * D, count * sizeof *image->x);
		m->op->copy(image->q, image->q + from * D, count * sizeof *image->q);
		m->op->copy(image->kv, image->kv + from * 2 * D, 2 * count * sizeof *image->kv);
	}
	for (int i = known; i <= batch->images; i++)
		image->off[i - known] = batch->regions[i] - batch->regions[known];
	for (int b = 0; b < batch->n; b++) {
		int i = batch->image[b];
		int at = i < known ? 0 : cfg->objects + image->off[i - known];

		for (int r = batch->regions[i]; r < batch->regions[i + 1]; r++)
			image->row[n++] = at++;
	}
	m->image_row = batch->images == known ? 0 : cfg->objects + image->off[batch->images - 1 - known];
	in->rows[VISION] = (struct rows){ batch->images - known, image->off };
}

/* What of the batch's images goes into the vision stack: of each new image, or again for each question. */
static void
put_features(const struct intake *in, const struct model *m, const struct batch *batch)
{
	const struct tape *t = m->tape;
	size_t F = (size_t)m->cfg->features;
	int count = in->rows[VISION].n;
	size_t at = 0;

	for (int place = 0; place < count; place++) {
		int i = in->once ? batch->images - count + place : batch->image[place];
		size_t from = (size_t)batch->regions[i], rows = (size_t)batch->regions[i + 1] - from;

		m->op->put(t->features + at * F, batch->features + from * F, rows * F * sizeof(float));
		m->op->put(t->boxes + at * 4, batch->boxes + from * 4, rows * 4 * sizeof(float));
		at += rows;
	}
}

void
intake(struct intake *in, struct model *m, const struct pass *pass, const struct batch *batch, int want_attention)
{
	const struct config *cfg = m->cfg;
	const struct batch_tape *b = &m->tape->batch;
	int n = batch->n;

	b->host[0] = n;
	memcpy(b->language, batch->language, ((size_t)n + 1) * sizeof(int));
	b->vision[0] = 0;
	for (int i = 0; i < n; i++) {
		int image = batch->image[i];

		b->vision[i + 1] = b->vision[i] + batch->regions[image + 1] - batch->regions[image];
	}
	for (int i = 0; i <= n; i++)
		b->cls[i] = i;
	for (int i = 0; i < layers_total(cfg); i++)
		b->dropped_all[i] = pass->dropped && pass->dropped[i];
	memcpy(b->tokens, batch->tokens, (size_t)batch->language[n] * sizeof *batch->tokens);
	m->op->put(b->shared, b->host, b->n * sizeof(int));
	in->rows[LANGUAGE] = (struct rows){ n, b->language };
	in->rows[VISION] = (struct rows){ n, b->vision };
	in->cls = (struct rows){ n, b->cls };
	/* Nothing in the vision stack may depend on the question: not its place, and (LayerDrop) not its batch. */
	in->once = !m->train && !pass->dropped && !tape_spans_by_place(m, pass);
	in->image = batch->image;
	if (in->once)
		take_images(in, m, batch, want_attention);
	else
		m->image_row = -1;
	put_features(in, m, batch);
}
