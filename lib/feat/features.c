/*
 * Room for an image's features, and what is done with all of its numbers.
 */
#include "feat/features.h"

#include <math.h>
#include <stdlib.h>

#include "sys/floats.h"

static int
grow(void **at, size_t *room, size_t bytes, struct err *err)
{
	void *more;

	if (bytes <= *room)
		return 0;
	more = realloc(*at, bytes);
	if (!more)
		return err_set(err, "out of memory for an image's features: %zu bytes", bytes);
	*at = more;
	*room = bytes;
	return 0;
}

int
features_room(struct features *f, int n, int columns, int f16, struct err *err)
{
	void *boxes = f->boxes;
	int bad;

	f->n = n;
	f->columns = columns;
	f->f16 = f16;
	bad = grow(&boxes, &f->room_boxes, (size_t)n * 4 * sizeof *f->boxes, err) ||
	      grow(&f->features, &f->room_features, features_bytes(f), err);
	f->boxes = boxes;
	return bad ? -1 : 0;
}

void
features_release(struct features *f)
{
	free(f->boxes);
	free(f->features);
	*f = (struct features){ 0 };
}

int
features_share_boxes(struct features *f, struct err *err)
{
	for (int i = 0; i < 4 * f->n; i++) {
		float *x = &f->boxes[i];

		*x /= (float)(i % 2 ? f->height : f->width);
		if (!(*x >= -1e-5f && *x <= 1 + 1e-5f))
			return err_set(err, "box %d lies at %g of the picture's %s, expected 0 to 1", i / 4, (double)*x,
			               i % 2 ? "height" : "width");
		*x = fminf(fmaxf(*x, 0), 1);
	}
	return 0;
}

int
features_to_halves(struct features *f, size_t *at, struct err *err)
{
	size_t n = (size_t)f->n * (size_t)f->columns;
	const float *in = f->features;

	*at = first_beyond(in, n, 65520);
	if (*at < n)
		return err_set(err, "region %zu, number %zu is %g, expected at most 65504 with --f16",
		               *at / (size_t)f->columns, *at % (size_t)f->columns, (double)in[*at]);
	floats_to_halves(f->features, in, n);
	f->f16 = 1;
	return 0;
}
