/*
 * torch's files: any bytes as either format; what is accepted lies inside the file or the copies behind it, which are at most
 * four times as large, and is found by name.
 */
#include "ckpt/image.h"
#include "ckpt/pth.h"
#include "fuzz.h"

static void
read_tensors(const struct pth *pth, const uint8_t *base, size_t size)
{
	const struct image *image = &pth->image;
	struct err err = { "" };

	for (size_t i = 0; i < image->n; i++) {
		const struct tensor *t = &image->tensors[i];
		size_t n = t->bytes / dtype_size(t->dtype), elements = 1;
		float *values = malloc(n * sizeof *values + 1);

		must(t->offset <= size && t->bytes <= size - t->offset);
		must(t->dims >= 0 && t->dims <= TENSOR_DIMS);
		for (int k = 0; k < t->dims; k++)
			elements *= (size_t)t->shape[k];
		must(elements == n);
		must(image_find(image, t->name) == t);
		must(values != NULL);
		dtype_to_f32(values, base + t->offset, n, t->dtype, &err);
		free(values);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	size_t behind = (size + 63) / 64 * 64;
	struct err err = { "" };
	struct pth pth;

	if (pth_is(copy, size)) {
		if (!pth_parse(&pth, copy, size, behind, &err)) {
			if (pth.views_n) {
				must(pth.size - behind <= 4 * size);
				copy = realloc(copy, pth.size);
				must(copy != NULL);
				pth_copy(&pth, copy);
			}
			read_tensors(&pth, copy, pth.views_n ? pth.size : size);
			pth_release(&pth);
		} else {
			must_say(err.text);
		}
	}
	free(copy);
	return 0;
}
