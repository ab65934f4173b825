/*
 * What ranks make of each other's gradients, flags and reports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "train/ranks.h"

static void
test_parts(void **state)
{
	(void)state;
	for (size_t n = 0; n < 200; n++)
		for (int ranks = 1; ranks < 70; ranks++) {
			assert_int_equal(part_begin(n, 0, ranks), 0);
			assert_int_equal(part_begin(n, ranks, ranks), n);
			for (int i = 0; i < ranks; i++) {
				size_t part = part_begin(n, i + 1, ranks) - part_begin(n, i, ranks);

				assert_in_range(part, n / (size_t)ranks, n / (size_t)ranks + 1);
			}
		}
}

/* In double, and in the ranks' order: 1e8 + 1 is no float32, and here the mean is. */
static void
test_mean(void **state)
{
	enum { N = 1100 };
	static float a[N], b[N], c[N];
	const float *const parts[] = { a, b, c };

	(void)state;
	for (int i = 0; i < N; i++) {
		a[i] = 1e8f;
		b[i] = (float)i;
		c[i] = -1e8f;
	}
	mean_of_parts(b, parts, 3, N);
	for (int i = 0; i < N; i++)
		assert_float_equal(b[i], (float)(i / 3.0), 0);
	/* Equal parts stay as they are: what does not depend on questions. */
	for (int i = 0; i < N; i++)
		a[i] = b[i] = c[i] = 1 / (1 + (float)i);
	mean_of_parts(a, parts, 3, N);
	assert_memory_equal(a, b, sizeof a);
}

static void
zero(void *dst, size_t bytes)
{
	memset(dst, 0, bytes);
}

/* Parameters 0 and 1 lie side by side, a gap is before 2, and 3 is behind it. */
static void
test_flags(void **state)
{
	float memory[10] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	float *gradients[] = { memory, memory + 2, memory + 5, memory + 8 };
	struct param list[] = { { .n = 2 }, { .n = 2 }, { .n = 3 }, { .n = 2 } };
	uint8_t flags[] = { GRADIENT_SET, GRADIENT_NONE, GRADIENT_SET, GRADIENT_NONE };
	const uint8_t merged[] = { GRADIENT_SET, GRADIENT_SET, GRADIENT_SET, GRADIENT_ZERO };
	const float expected[10] = { 1, 2, 0, 0, 5, 6, 7, 8, 9, 10 };
	const struct op op = { .zero = zero };
	struct share share = { .op = &op, .params = { .list = list, .n = 4 }, .gradients = gradients, .flags = flags };
	struct stretch out[4];

	(void)state;
	assert_int_equal(gradients_to_sum(out, &share, merged), 2);
	assert_ptr_equal(out[0].at, memory);
	assert_int_equal(out[0].n, 4);
	assert_ptr_equal(out[1].at, memory + 5);
	assert_int_equal(out[1].n, 3);
	assert_memory_equal(flags, merged, sizeof flags);
	assert_memory_equal(memory, expected, sizeof memory);
}

static void
test_reports(void **state)
{
	const struct rank_report same[] = { { 7, 4, 1, 0.5, 1, 1.5, 2 }, { 7, 4, 1, 0.25, 1, 1.25, 3 } };
	struct rank_report other[2], mean;
	struct err err;
	int culprit;

	(void)state;
	assert_int_equal(rank_reports_merge(&mean, same, 2, &culprit, &err), 0);
	assert_int_equal(mean.step, 7);
	assert_float_equal(mean.bce, 0.375, 0);
	assert_float_equal(mean.span, 1, 0);
	assert_float_equal(mean.total, 1.375, 0);
	assert_float_equal(mean.right, 2.5, 0);
	memcpy(other, same, sizeof other);
	other[1].weights = 2;
	assert_int_equal(rank_reports_merge(&mean, other, 2, &culprit, &err), -1);
	assert_int_equal(culprit, 1);
	assert_string_equal(
		err.text,
		"step 7: the weights of rank 1 are not those of rank 0: other checkpoints, or other processors");
	other[1].step = 0;
	assert_int_equal(rank_reports_merge(&mean, other, 2, &culprit, &err), -1);
	assert_string_equal(err.text, "rank 1 is at the end of the stream, but rank 0 at step 7");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_mean),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_reports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
