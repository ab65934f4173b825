/*
 * What one card shows of the mean over ranks: NCCL is found, understands what it is asked, and the mean of one rank is its own.
 * tests/vqa-allreduce.bats has more ranks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "op/op.h"

static const struct op *
load(void)
{
	const char *wanted = getenv("VQA_TEST_DEVICE");
	struct err err;
	const struct op *op = backend_open(wanted ? wanted : "cpu", &err);

	if (!op)
		fail_msg("%s", err.text);
	return op;
}

static void
test_one_rank(void **state)
{
	enum { N = 100000 };
	static float x[N], y[N];
	const struct op *op = load();
	struct meeting meeting;
	struct err err;
	float *there;

	(void)state;
	if (op_on_host(op)) {
		assert_true(!op->ranks_meet && !op->ranks_join && !op->ranks_mean);
		return;
	}
	if (op->ranks_meet(&meeting, &err)) {
		assert_true(!strncmp(err.text, "cannot load NCCL: ", strlen("cannot load NCCL: ")));
		print_message("%s\n", err.text);
		skip();
	}
	if (op->ranks_join(&meeting, 0, 1, &err))
		fail_msg("%s", err.text);
	for (int i = 0; i < N; i++)
		x[i] = 1 / (1 + (float)i);
	there = op->alloc(sizeof x);
	assert_non_null(there);
	op->put(there, x, sizeof x);
	op->ranks_mean(there + 1, N - 1);
	op->get(y, there, sizeof y);
	if (op->sync(&err))
		fail_msg("%s", err.text);
	assert_memory_equal(x, y, sizeof x);
	op->free(there);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_rank) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
