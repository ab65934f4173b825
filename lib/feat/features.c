/*
 * Room for an image's features.
 */
#include "feat/features.h"

#include <stdlib.h>

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
