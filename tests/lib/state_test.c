/*
 * State dicts as torch 2.15 wrote them (tests/golden/torch), in both formats, against the values that torch says they have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ckpt/state.h"

#define TORCH "tests/golden/torch/"

static void
compare(const char *path)
{
	struct image expected, got;
	struct err err = { "" };

	assert_int_equal(state_open(&expected, TORCH "expected.safetensors", &err), 0);
	if (state_open(&got, path, &err))
		fail_msg("%s", err.text);
	assert_int_equal(expected.n, 21);
	assert_int_equal(got.n, expected.n);
	assert_int_equal(got.meta_n, 0);
	for (size_t i = 0; i < expected.n; i++) {
		const struct tensor *a = &expected.tensors[i], *b = image_find(&got, a->name);

		if (!b)
			fail_msg("%s: no tensor '%s'", path, a->name);
		assert_int_equal(b->dtype, a->dtype);
		assert_int_equal(b->dims, a->dims);
		assert_memory_equal(b->shape, a->shape, (size_t)a->dims * sizeof *a->shape);
		assert_int_equal(b->bytes, a->bytes);
		assert_true(b->offset <= got.size && b->bytes <= got.size - b->offset);
		assert_memory_equal(image_data(&got, b), image_data(&expected, a), a->bytes);
	}
	for (size_t i = 1; i < got.n; i++)
		assert_true(got.tensors[i - 1].offset <= got.tensors[i].offset);
	image_close(&got);
	image_close(&expected);
}

static void
test_zip(void **state)
{
	(void)state;
	compare(TORCH "zip.pth");
	compare(TORCH "zip-protocol4.pth");
}

static void
test_legacy(void **state)
{
	(void)state;
	compare(TORCH "legacy.pth");
	compare(TORCH "legacy-protocol4.pth");
}

/* Among an optimizer's state, numbers, lists: as a training saves it. */
static void
test_nested(void **state)
{
	(void)state;
	compare(TORCH "nested.pth");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zip),
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_nested),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
