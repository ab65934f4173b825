/*
 * The mean over ranks, by NCCL. Its one communicator lives as long as the process.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

#include "op/cuda/kernel.h"
#include "op/cuda/nccl.h"

static struct {
	decltype(&ncclGetUniqueId) get_id;
	decltype(&ncclCommInitRank) init;
	decltype(&ncclAllReduce) all_reduce;
	decltype(&ncclCommGetAsyncError) async_error;
	decltype(&ncclGetErrorString) words;
	ncclComm_t comm;
} nccl;

template <typename F>
static int
find(F *out, void *library, const char *name, struct err *err)
{
	*out = (F)dlsym(library, name);
	return *out ? 0 : err_set(err, "cannot use NCCL: %s", dlerror());
}

static int
load(struct err *err)
{
	const char *named = getenv("VQA_NCCL");
	void *library;

	if (nccl.words)
		return 0;
	library = dlopen(named ? named : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return err_set(err, "cannot load NCCL: %s", dlerror());
	return find(&nccl.get_id, library, "ncclGetUniqueId", err) ||
	                       find(&nccl.init, library, "ncclCommInitRank", err) ||
	                       find(&nccl.all_reduce, library, "ncclAllReduce", err) ||
	                       find(&nccl.async_error, library, "ncclCommGetAsyncError", err) ||
	                       find(&nccl.words, library, "ncclGetErrorString", err)
	               ? -1
	               : 0;
}

static int
nccl_check(ncclResult_t result, const char *what, struct err *err)
{
	return result == ncclSuccess ? 0 : err_set(err, "NCCL: %s: %s", what, nccl.words(result));
}

static_assert(sizeof(ncclUniqueId) == sizeof(struct meeting), "a meeting is NCCL's id");

int
cuda_ranks_meet(struct meeting *out, struct err *err)
{
	return load(err) ? -1 : nccl_check(nccl.get_id((ncclUniqueId *)out), "ncclGetUniqueId", err);
}

int
cuda_ranks_join(const struct meeting *meeting, int rank, int ranks, struct err *err)
{
	ncclUniqueId id;

	memcpy(&id, meeting, sizeof id);
	return load(err) ? -1 : nccl_check(nccl.init(&nccl.comm, ranks, id, rank), "ncclCommInitRank", err);
}

void
cuda_ranks_mean(float *x, size_t n)
{
	const ncclResult_t result = nccl.all_reduce(x, x, n, ncclFloat32, ncclAvg, nccl.comm, cuda_stream);

	if (result != ncclSuccess)
		cuda_fault("ncclAllReduce", nccl.words(result));
}

/* A rank or a network that is gone is told by NCCL alone: the stream waits for it for ever. Naps, since others may be late. */
int
cuda_ranks_wait(void)
{
	const struct timespec nap = { .tv_sec = 0, .tv_nsec = 20000 };
	ncclResult_t error = ncclSuccess;
	int busy;

	if (!nccl.comm)
		return 0;
	do {
		busy = cudaStreamQuery(cuda_stream) == cudaErrorNotReady;
		nccl.async_error(nccl.comm, &error);
		if (busy)
			nanosleep(&nap, NULL);
	} while (busy && error == ncclSuccess);
	if (error == ncclSuccess)
		return 0;
	cuda_fault("NCCL", nccl.words(error));
	return -1;
}
