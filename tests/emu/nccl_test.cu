/* The emulated NCCL: ranks are processes, children of the test's, each with a device of its own. */
#include <math.h>
#include <string.h>

#include "emu_test.h"

#include "op/cuda/nccl.h"

constexpr size_t N = 40000; /* more than two slices */

static ncclUniqueId id;

static float
value(int rank, size_t i)
{
	return (float)(rank + 1) * (float)(i % 1000);
}

static ncclComm_t
join(int rank, int ranks, int device)
{
	ncclComm_t comm = NULL;

	if (cudaSetDevice(device) || ncclCommInitRank(&comm, ranks, id, rank))
		_exit(2);
	return comm;
}

/* Of n values. 0 if all is as it should be. */
static int
mean(ncclComm_t comm, int rank, int ranks, size_t n)
{
	float *host = (float *)malloc(N * sizeof *host), *x;
	ncclResult_t error;
	int bad = 0;

	for (size_t i = 0; i < N; i++)
		host[i] = value(rank, i);
	x = device<float>(N, host);
	if (ncclAllReduce(x, x, n, ncclFloat32, ncclAvg, comm, NULL))
		return 3;
	do {
		if (ncclCommGetAsyncError(comm, &error))
			return 3;
	} while (cudaStreamQuery(NULL) == cudaErrorNotReady && !error);
	if (error)
		return 10 + error;
	fetch(host, x, N);
	for (size_t i = 0; i < N; i++) {
		float expected = i < n ? value(0, i) * (float)(ranks + 1) / 2 : value(rank, i);

		bad += !(fabsf(host[i] - expected) <= 1e-3f);
	}
	free(host);
	return bad ? 4 : 0;
}

/* One process a rank; each one's exit status. Who has ended is waited for at once: until then he seems to live. */
static void
run(int ranks, int (*body)(int rank, int ranks), int *status)
{
	pid_t child[8];

	OK(ncclGetUniqueId(&id));
	fflush(NULL);
	for (int i = 0; i < ranks; i++) {
		child[i] = fork();
		assert_true(child[i] >= 0);
		if (!child[i]) {
			signal(SIGABRT, SIG_DFL); /* not cmocka's */
			_exit(body(i, ranks));
		}
	}
	for (int left = ranks; left; left--) {
		int how;
		pid_t pid = wait(&how);

		for (int i = 0; i < ranks; i++)
			if (child[i] == pid)
				status[i] = how;
	}
}

static int
twice(int rank, int ranks)
{
	ncclComm_t comm = join(rank, ranks, rank);
	int first = mean(comm, rank, ranks, N);

	return first ? first : mean(comm, rank, ranks, 5);
}

static void
test_mean(void **)
{
	int status[3];

	for (int ranks = 1; ranks <= 3; ranks++) {
		run(ranks, twice, status);
		for (int i = 0; i < ranks; i++)
			assert_int_equal(status[i], 0);
	}
}

static int
one_leaves(int rank, int ranks)
{
	ncclComm_t comm = join(rank, ranks, rank);

	return rank ? 0 : mean(comm, rank, ranks, N);
}

/* Which one never does without asking for the error. */
static int
one_leaves_and_is_waited_for(int rank, int ranks)
{
	ncclComm_t comm = join(rank, ranks, rank);
	float *x = device<float>(4);

	if (!rank && !ncclAllReduce(x, x, 4, ncclFloat32, ncclAvg, comm, NULL))
		cudaStreamSynchronize(NULL);
	return 0;
}

static int
same_device(int rank, int ranks)
{
	ncclComm_t comm;

	return ncclCommInitRank(&comm, ranks, id, rank) == ncclInvalidUsage ? 5 : 0;
}

static int
other_count(int rank, int ranks)
{
	return mean(join(rank, ranks, rank), rank, ranks, N - (size_t)rank);
}

static int
host_memory(int rank, int ranks)
{
	static float x[4];

	return ncclAllReduce(x, x, 4, ncclFloat32, ncclAvg, join(rank, ranks, rank), NULL);
}

static void
test_refused(void **)
{
	int status[2];
	ncclComm_t comm;

	run(2, one_leaves, status);
	assert_int_equal(WEXITSTATUS(status[0]), 10 + ncclRemoteError);
	run(2, one_leaves_and_is_waited_for, status);
	assert_true(WIFSIGNALED(status[0]));
	assert_int_equal(status[1], 0);
	run(2, same_device, status);
	assert_int_equal(WEXITSTATUS(status[0]), 5);
	assert_int_equal(WEXITSTATUS(status[1]), 5);
	run(2, other_count, status);
	assert_true(WIFSIGNALED(status[0]) || WIFSIGNALED(status[1]));
	run(1, host_memory, status);
	assert_true(WIFSIGNALED(status[0]));
	memset(&id, 0, sizeof id);
	assert_int_equal(ncclCommInitRank(&comm, 1, id, 0), ncclSystemError);
	assert_int_equal(ncclCommInitRank(&comm, 1, id, 1), ncclInvalidArgument);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_mean), cmocka_unit_test(test_refused) };

	setenv("VQA_EMU_DEVICES", "3", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
