/*
 * Room for an image's features, and what is done with all of its numbers.
 */
#include "feat/features.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sys/half.h"

enum { BLOCK = 64 }; /* numbers that are looked at together, in registers */

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

/*
 * The index of the first x with |x| >= limit or not a number; n if there is none. Without their sign, floats are in the order of
 * their bits, and what is not a number comes last.
 */
static size_t
first_beyond(const float *x, size_t n, float limit)
{
	int32_t most, bits[BLOCK];
	size_t i = 0;

	memcpy(&most, &limit, sizeof most);
	while (i + BLOCK <= n) {
		int any = 0;

		memcpy(bits, x + i, sizeof bits);
		for (int k = 0; k < BLOCK; k++)
			any |= (bits[k] & INT32_MAX) >= most;
		if (any)
			break;
		i += BLOCK;
	}
	while (i < n && fabsf(x[i]) < limit)
		i++;
	return i;
}

size_t
first_not_finite(const float *x, size_t n)
{
	return first_beyond(x, n, INFINITY);
}

#ifdef __x86_64__
/* AVX says that the registers may be used, too. */
static int
has_f16c(void)
{
	unsigned a, b, c, d;

	return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

/* The same as float_to_half(), eight at a time; returns how many. */
__attribute__((target("avx,f16c"))) static size_t
halves_of_eight(uint16_t *out, const float *in, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm_storeu_si128((__m128i *)(void *)(out + i),
		                 _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
	return i;
}
#endif

int
features_to_halves(struct features *f, size_t *at, struct err *err)
{
	size_t n = (size_t)f->n * (size_t)f->columns, i = 0;
	const float *in = f->features;
	uint16_t *out = f->features; /* each half lies at or before its float */

	*at = first_beyond(in, n, 65520);
	if (*at < n)
		return err_set(err, "region %zu, number %zu is %g, expected at most 65504 with --f16",
		               *at / (size_t)f->columns, *at % (size_t)f->columns, (double)in[*at]);
#ifdef __x86_64__
	if (has_f16c())
		i = halves_of_eight(out, in, n);
#endif
	for (; i < n; i++) {
		float x;

		memcpy(&x, &in[i], sizeof x);
		out[i] = float_to_half(x);
	}
	f->f16 = 1;
	return 0;
}
