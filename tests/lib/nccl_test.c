/*
 * What one card shows of the mean over ranks: NCCL is found, understands what it is asked, and the mean of one rank is its own. Over
 * tests/emu, what a rank is told when another is gone. tests/vqa-allreduce.bats has more ranks.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
	if (op->sync(&err))
		fail_msg("%s", err.text);
	op->get(y, there, sizeof y);
	if (op->sync(&err))
		fail_msg("%s", err.text);
	assert_memory_equal(x, y, sizeof x);
	op->free(there);
}

/* Joins as one of two; the meeting goes from rank 0 to rank 1 through the pipe. NULL if that fails. */
static const struct op *
join_two(int rank, const int *fds)
{
	struct meeting meeting;
	struct err err;
	const struct op *op = backend_open(rank ? "cuda:1" : "cuda:0", &err);
	const ssize_t size = sizeof meeting;

	if (!op || (!rank && (op->ranks_meet(&meeting, &err) || write(fds[1], &meeting, sizeof meeting) != size)) ||
	    (rank && read(fds[0], &meeting, sizeof meeting) != size))
		return NULL;
	return op->ranks_join(&meeting, rank, 2, &err) ? NULL : op;
}

/* Rank 0, whose sync() must say that there is no rank 1 any more. */
static int
stays(const int *fds)
{
	const struct op *op = join_two(0, fds);
	struct err err;
	float *there;

	if (!op)
		return 1;
	there = op->alloc(4 * sizeof *there);
	op->zero(there, 4 * sizeof *there);
	op->ranks_mean(there, 4);
	return op->sync(&err) != -1 ||
	       strcmp(err.text, "cuda backend: NCCL: remote process exited or there was a network error") != 0;
}

/* Ranks are processes of their own, which have opened no device before. */
static void
test_rank_gone(void **state)
{
	const char *cuda = getenv("VQA_CUDA"), *nccl = getenv("VQA_NCCL");
	int fds[2], status;
	pid_t child[2];

	(void)state;
	if (!cuda || !nccl || strcmp(cuda, nccl) != 0) {
		print_message("only the emulated NCCL has two cards, and is sure to notice\n");
		skip();
	}
	setenv("VQA_EMU_DEVICES", "2", 1);
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		assert_true(child[i] >= 0);
		if (!child[i]) {
			signal(SIGABRT, SIG_DFL); /* not cmocka's */
			_exit(i ? !join_two(1, fds) : stays(fds));
		}
	}
	/* Rank 1 first: until then it seems to live. */
	for (int i = 1; i >= 0; i--) {
		assert_int_equal(waitpid(child[i], &status, 0), child[i]);
		assert_int_equal(status, 0);
	}
	close(fds[0]);
	close(fds[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rank_gone), cmocka_unit_test(test_one_rank) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
