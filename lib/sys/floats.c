/*
 * Blocks of floats: looked at in registers, converted by the processor's own instructions where it has them.
 */
#include "sys/floats.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif
#include <math.h>
#include <string.h>

#include "sys/half.h"

enum { BLOCK = 64 }; /* numbers that are looked at together */

static float
float_at(const void *x, size_t i)
{
	float one;

	memcpy(&one, (const char *)x + i * sizeof one, sizeof one);
	return one;
}

static uint16_t
half_at(const void *x, size_t i)
{
	uint16_t one;

	memcpy(&one, (const char *)x + i * sizeof one, sizeof one);
	return one;
}

/* Without their sign, floats are in the order of their bits, and what is not a number comes last. */
size_t
first_beyond(const void *x, size_t n, float limit)
{
	int32_t most, bits[BLOCK];
	size_t i = 0;

	memcpy(&most, &limit, sizeof most);
	while (i + BLOCK <= n) {
		int any = 0;

		memcpy(bits, (const char *)x + i * sizeof *bits, sizeof bits);
		for (int k = 0; k < BLOCK; k++)
			any |= (bits[k] & INT32_MAX) >= most;
		if (any)
			break;
		i += BLOCK;
	}
	while (i < n && fabsf(float_at(x, i)) < limit)
		i++;
	return i;
}

size_t
first_not_finite(const void *x, size_t n)
{
	return first_beyond(x, n, INFINITY);
}

size_t
first_half_not_finite(const void *x, size_t n)
{
	const int16_t infinite = 0x7c00;
	int16_t bits[BLOCK];
	size_t i = 0;

	while (i + BLOCK <= n) {
		int16_t any = 0;

		memcpy(bits, (const char *)x + i * sizeof *bits, sizeof bits);
		for (int k = 0; k < BLOCK; k++)
			any |= (int16_t)(bits[k] & INT16_MAX) >= infinite;
		if (any)
			break;
		i += BLOCK;
	}
	while (i < n && (half_at(x, i) & INT16_MAX) < infinite)
		i++;
	return i;
}

#ifdef __x86_64__
/* AVX says that the registers may be used, too. */
static int
has_f16c(void)
{
	unsigned a, b, c, d;

	return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

/* Eight at a time; returns how many. */
__attribute__((target("avx,f16c"))) static size_t
eights_to_halves(char *out, const char *in, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm_storeu_si128((__m128i *)(void *)(out + 2 * i),
		                 _mm256_cvtps_ph(_mm256_loadu_ps((const float *)(const void *)(in + 4 * i)),
		                                 _MM_FROUND_TO_NEAREST_INT));
	return i;
}

__attribute__((target("avx,f16c"))) static size_t
eights_to_floats(float *out, const char *in, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(out + i,
		                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(in + 2 * i))));
	return i;
}
#else
static int
has_f16c(void)
{
	return 0;
}

static size_t
eights_to_halves(char *out, const char *in, size_t n)
{
	(void)out, (void)in, (void)n;
	return 0;
}

static size_t
eights_to_floats(float *out, const char *in, size_t n)
{
	(void)out, (void)in, (void)n;
	return 0;
}
#endif

void
halves_to_floats(float *out, const void *in, size_t n)
{
	for (size_t i = has_f16c() ? eights_to_floats(out, in, n) : 0; i < n; i++)
		out[i] = half_to_float(half_at(in, i));
}

void
floats_to_halves(void *out, const void *in, size_t n)
{
	/* In place, each half lies at or before its float. */
	for (size_t i = has_f16c() ? eights_to_halves(out, in, n) : 0; i < n; i++) {
		uint16_t half = float_to_half(float_at(in, i));

		memcpy((char *)out + i * sizeof half, &half, sizeof half);
	}
}
