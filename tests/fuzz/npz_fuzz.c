/*
 * numpy's .npz: any bytes as the file. An image that is accepted is within its bounds; what is wrong with the file ends it.
 */
#include <math.h>

#include "feat/npz.h"
#include "fuzz.h"

static void
check(const struct features *f)
{
	must(f->n >= 1 && f->n <= FEATURES_REGIONS && f->columns >= 1 && f->columns <= FEATURES_WIDTH && f->id[0]);
	must(strlen(f->id) < sizeof f->id && f->width >= 1 && f->height >= 1);
	for (int i = 0; i < 4 * f->n; i++)
		must(f->boxes[i] >= 0 && f->boxes[i] <= 1);
	for (size_t i = 0; i < (size_t)f->n * (size_t)f->columns; i++)
		must(isfinite(((const float *)f->features)[i]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct features f = { 0 };
	struct npz npz;
	struct err err = { "" };
	char where[4200];
	int bad;

	npz_open(&npz, memory_file(data, size), "fuzz/image.npz");
	while (npz_next(&npz, &f, where, sizeof where, &bad, &err)) {
		if (bad)
			must_say(err.text);
		else
			check(&f);
	}
	npz_close(&npz);
	features_release(&f);
	return 0;
}
