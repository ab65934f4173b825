/*
 * Base64, CRC-32 and what is done with all of an image's numbers: long texts, which go through registers where there are some, against
 * short ones and against slow definitions, with a fault at every place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "feat/features.h"
#include "sys/base64.h"
#include "sys/crc.h"
#include "sys/floats.h"
#include "sys/half.h"

enum { BYTES = 300 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* RFC 4648, bit by bit. */
static void
slow_encode(char *out, const uint8_t *in, size_t n)
{
	size_t bits = 8 * n, length = base64_length(n);

	for (size_t i = 0; i < length; i++) {
		int value = 0;

		for (size_t b = 6 * i; b < 6 * i + 6; b++)
			value = 2 * value + (b < bits ? in[b / 8] >> (7 - b % 8) & 1 : 0);
		out[i] = 6 * i < bits ? alphabet[value] : '=';
	}
}

static void
fill(uint8_t *out, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
}

static void
test_base64(void **state)
{
	(void)state;
	for (size_t n = 0; n <= BYTES; n++) {
		uint8_t in[BYTES], *out = malloc(n + 1);
		size_t length = base64_length(n), at;
		char *text = malloc(length + 1), slow[2 * BYTES];

		fill(in, n, (unsigned)n);
		base64_encode(text, in, n);
		slow_encode(slow, in, n);
		assert_memory_equal(text, slow, length);
		out[n] = 0xa5; /* one byte beyond is not written, nor are more, which ASan sees */
		assert_int_equal(base64_decode(out, text, length, &at), n);
		assert_memory_equal(out, in, n);
		assert_int_equal(out[n], 0xa5);
		free(text);
		free(out);
	}
}

/* Every byte at every place: taken if it is of the alphabet, else refused there, by the long way as by the short one. */
static void
test_base64_faults(void **state)
{
	enum { LENGTH = 4 * 36 };
	uint8_t in[LENGTH / 4 * 3], out[LENGTH / 4 * 3];
	char text[LENGTH];
	size_t at;

	(void)state;
	fill(in, sizeof in, 7);
	base64_encode(text, in, sizeof in);
	for (size_t i = 0; i < LENGTH - 2; i++)
		for (int c = 0; c < 256; c++) {
			char was = text[i];
			int good = c && strchr(alphabet, c);

			text[i] = (char)c;
			assert_int_equal(base64_decode(out, text, LENGTH, &at), good ? (long)sizeof in : -1);
			assert_int_equal(at, good ? LENGTH : i);
			text[i] = was;
		}
	assert_int_equal(base64_decode(out, text, LENGTH - 1, &at), -1);
	text[LENGTH - 1] = '='; /* the one before has bits that belong to no byte */
	text[LENGTH - 2] = 'B';
	assert_int_equal(base64_decode(out, text, LENGTH, &at), -1);
	assert_int_equal(at, LENGTH - 2);
	text[LENGTH - 2] = 'E';
	assert_int_equal(base64_decode(out, text, LENGTH, &at), sizeof in - 1);
}

/* Bit by bit. */
static uint32_t
slow_crc(uint32_t crc, const uint8_t *data, size_t n)
{
	crc = ~crc;
	for (size_t i = 0; i < 8 * n; i++) {
		uint32_t bit = (crc ^ (uint32_t)(data[i / 8] >> i % 8)) & 1;

		crc = crc >> 1 ^ (bit ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* All lengths up to where registers have taken several turns, from every alignment, and in two pieces. */
static void
test_crc(void **state)
{
	enum { LONG = 700 };
	uint8_t data[LONG + 16];

	(void)state;
	assert_int_equal(slow_crc(0, (const uint8_t *)"123456789", 9), 0xcbf43926); /* the published check value */
	fill(data, sizeof data, 3);
	for (size_t n = 0; n <= LONG; n++) {
		const uint8_t *at = data + n % 16;
		uint32_t want = slow_crc(77, at, n);

		assert_int_equal(crc_32(77, at, n), want);
		assert_int_equal(crc_32(crc_32(77, at, n / 3), at + n / 3, n - n / 3), want);
	}
}

static void
test_not_finite(void **state)
{
	static const float others[] = { INFINITY, -INFINITY, NAN, -NAN };
	static const uint16_t other_halves[] = { 0x7c00, 0xfc00, 0x7c01, 0xffff };
	float x[200] = { 0 };
	uint16_t h[200] = { 0 };

	(void)state;
	for (size_t n = 0; n <= 200; n++) {
		for (size_t i = 0; i < n; i++) {
			x[i] = i % 3 ? -3.4e38f : (float)i;
			h[i] = i % 3 ? 0xfbff : i % 2 ? 0x7bff : 0;
		}
		assert_int_equal(first_not_finite(x, n), n);
		assert_int_equal(first_half_not_finite(h, n), n);
		for (size_t i = 0; i < n; i++) {
			float was = x[i];
			uint16_t was_half = h[i];

			x[i] = others[i % 4];
			h[i] = other_halves[i % 4];
			assert_int_equal(first_not_finite(x, n), i);
			assert_int_equal(first_half_not_finite(h, n), i);
			x[i] = was;
			h[i] = was_half;
		}
	}
}

/* All of them, at odd addresses, by eights and alone. A number stays one, and what is none does too. */
static void
test_from_halves(void **state)
{
	enum { ALL = 1 << 16 };
	char *in = malloc(2 * ALL + 1);
	float *out = malloc(ALL * sizeof *out);

	(void)state;
	for (unsigned i = 0; i < ALL; i++) {
		uint16_t half = (uint16_t)i;

		memcpy(in + 1 + 2 * i, &half, sizeof half);
	}
	for (unsigned from = 0; from < 2; from++) {
		halves_to_floats(out, in + 1 + 2 * from, ALL - from);
		for (unsigned i = from; i < ALL; i++) {
			float want = half_to_float((uint16_t)i);

			assert_true(isnan(want) ? isnan(out[i - from]) : !memcmp(&out[i - from], &want, sizeof want));
		}
	}
	free(in);
	free(out);
}

/* The middles between halves, which go to the even one, and the floats next to them; by eights and alone. */
static void
test_halves(void **state)
{
	enum { HALVES = 0x7c00 };
	struct features f = { 0 };
	struct err err;
	size_t at;

	(void)state;
	for (int shift = -1; shift <= 1; shift++) {
		float *in = malloc(HALVES * sizeof *in);

		assert_int_equal(features_room(&f, 1, HALVES, 0, &err), 0);
		for (int i = 0; i < HALVES; i++) {
			float low = half_to_float((uint16_t)i),
			      high = i + 1 < HALVES ? half_to_float((uint16_t)(i + 1)) : 65520;
			float middle = (low + high) / 2;

			in[i] = (i % 2 ? -1.0f : 1.0f) * (shift ? nextafterf(middle, shift < 0 ? low : high) : middle);
		}
		memcpy(f.features, in, HALVES * sizeof *in);
		assert_int_equal(features_to_halves(&f, &at, &err), 0);
		assert_int_equal(f.f16, 1);
		for (int i = 0; i < HALVES; i++) {
			int up = i + 1 < HALVES && (shift > 0 || (!shift && i % 2)), sign = i % 2 ? 0x8000 : 0;

			assert_int_equal(((const uint16_t *)f.features)[i], sign | (i + up));
			assert_int_equal(float_to_half(in[i]), sign | (i + up));
		}
		free(in);
	}
	features_release(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64), cmocka_unit_test(test_base64_faults),
		cmocka_unit_test(test_crc),    cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_halves), cmocka_unit_test(test_from_halves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
