/*
 * A batch into the tape: its description, its inputs, and which of its images have to be computed.
 */
#include <string.h>

#include "model/tape.h"

/* Nothing in the vision stack may depend on the question: not its place, and (LayerDrop) not its batch. */
static int
images_once(const struct model *m, const struct batch *batch, const struct pass *pass)
{
	return !m->train && !pass->dropped && !tape_spans_by_place(m, pass, batch->n);
}

/* Of images once: how many of the first ones, none or one, need not be computed, since the batch before has left what is wanted of it. */
static int
images_known(const struct model *m, const struct batch *batch, const struct pass *pass)
{
	return batch->carried && m->image_row >= 0 && !pass->sink;
}

/*
 * Images once: rows[VISION] become those of images that are not known already, and where the rows of questions will find theirs
 * is noted. An image that came from the batch before has its results moved to the first rows.
 */
static void
take_images(struct intake *in, struct model *m, const struct batch *batch, int known)
{
	const struct config *cfg = m->cfg;
	const struct image_tape *image = &m->tape->image;
	size_t D = (size_t)cfg->hidden;
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

static int
next_turn(const struct model *m)
{
	return (int)(m->begun % (unsigned)m->turns);
}

/* Rows of a matrix of the batch's, D wide: of each image that is not known, or again for each question. */
static void
send_rows(const struct model *m, const struct batch *batch, const struct pass *pass, float *to, const float *rows,
          size_t D)
{
	const int *off = batch->regions;

	if (images_once(m, batch, pass)) {
		int first = off[images_known(m, batch, pass)];

		m->op->send(to, rows + (size_t)first * D, (size_t)(off[batch->images] - first) * D * sizeof *to);
		return;
	}
	for (int b = 0; b < batch->n; b++) {
		int first = off[batch->image[b]];
		size_t n = (size_t)(off[batch->image[b] + 1] - first) * D;

		m->op->send(to, rows + (size_t)first * D, n * sizeof *to);
		to += n;
	}
}

/* What goes into the vision stack. */
static void
send_inputs(const struct model *m, const struct batch *batch, const struct pass *pass)
{
	const struct input_tape *to = &m->tape->inputs[next_turn(m)];

	send_rows(m, batch, pass, to->features, batch->features, (size_t)m->cfg->features);
	send_rows(m, batch, pass, to->boxes, batch->boxes, 4);
	m->op->arrive();
}

void
model_send(struct model *m, const struct batch *batch, const struct pass *pass)
{
	if (m->turns > 1)
		send_inputs(m, batch, pass);
}

void
intake(struct intake *in, struct model *m, const struct batch *batch, const struct pass *pass)
{
	const struct config *cfg = m->cfg;
	const struct batch_tape *b = &m->tape->batch;
	int n = batch->n;

	if (m->turns == 1)
		send_inputs(m, batch, pass);
	in->turn = next_turn(m);
	*b->n = n;
	*b->turn = in->turn;
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
	if (m->train)
		m->op->put(b->shared, b->host, b->ints * sizeof(int));
	in->rows[LANGUAGE] = (struct rows){ n, b->language };
	in->rows[VISION] = (struct rows){ n, b->vision };
	in->cls = (struct rows){ n, b->cls };
	in->once = images_once(m, batch, pass);
	in->image = batch->image;
	if (in->once)
		take_images(in, m, batch, images_known(m, batch, pass));
	else
		m->image_row = -1;
}
