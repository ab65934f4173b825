/*
 * Pictures: any bytes as a PNG; what is accepted has features, all of them finite, and boxes inside the picture.
 */
#include <math.h>

#include "feat/grid.h"
#include "fuzz.h"

enum { SMALL = 1 << 16 }; /* pixels of a picture whose features are worth the time */

static void
must_have_features(const struct picture *picture)
{
	struct features f = { 0 };
	struct err err = { "" };

	must(grid_features(&f, picture, &err) == 0);
	must(f.n == GRID_REGIONS && f.columns == GRID_COLUMNS);
	for (int i = 0; i < 4 * f.n; i++)
		must(f.boxes[i] >= 0 && f.boxes[i] <= 1);
	for (int i = 0; i < f.n * f.columns; i++)
		must(isfinite(((const float *)f.features)[i]));
	features_release(&f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct picture picture;
	struct err err = { "" };

	if (picture_parse(&picture, copy, size, "x", &err) == 0) {
		must(picture.width >= 1 && picture.height >= 1);
		if (picture.width * picture.height <= SMALL)
			must_have_features(&picture);
		picture_release(&picture);
	} else {
		must_say(err.text);
	}
	free(copy);
	return 0;
}
