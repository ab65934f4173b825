/*
 * The part of NCCL that lib/op/cuda uses, between processes of this machine. It is in the same library as the rest, so VQA_NCCL
 * names that file, too.
 *
 * Who makes the id makes a file in memory, which all ranks map through /proc as long as that process lives:
 *
 *     [ranks: a seat each][ranks: a slice of values each]
 *
 * A mean goes slice by slice: each rank lays down its own, all wait for each other, each sums all in the ranks' order, all wait again.
 * A rank that has died is an asynchronous error, as with NCCL over a network: the stream never comes to its end, and who asks for the
 * error learns of it when he asks for the second time. Calls that do not fit together end the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "emu.h"
#include "op/cuda/nccl.h"

constexpr int MOST = 16;
constexpr size_t SLICE = 1 << 14;

struct seat {
	int pid; /* 0: not here yet */
	int ranks, device;
	size_t count;   /* of the mean that it takes part in */
	uint64_t steps; /* how often it was where all wait for each other */
};

struct room {
	struct seat seats[MOST];
	float slices[MOST][SLICE];
};

struct ncclComm {
	struct room *room;
	int rank, ranks;
	ncclResult_t error;
	bool asked; /* since there is one */
};

struct id {
	char magic[8];
	int pid, fd;
};

static_assert(sizeof(struct id) <= sizeof(ncclUniqueId));

static const char magic[8] = "vqanccl";

ncclResult_t
ncclGetUniqueId(ncclUniqueId *out)
{
	struct id id = {};

	if (!out)
		return ncclInvalidArgument;
	id.fd = memfd_create("emulated NCCL", MFD_CLOEXEC);
	if (id.fd < 0 || ftruncate(id.fd, sizeof(struct room)))
		return ncclSystemError;
	id.pid = getpid();
	memcpy(id.magic, magic, sizeof id.magic);
	memset(out, 0, sizeof *out);
	memcpy(out, &id, sizeof id);
	return ncclSuccess;
}

/* Until all ranks are here; ncclRemoteError if one never will be. */
static ncclResult_t
wait_for_all(const struct ncclComm *comm)
{
	const struct timespec nap = { .tv_sec = 0, .tv_nsec = 20000 };
	struct seat *seats = comm->room->seats;
	const uint64_t steps = seats[comm->rank].steps + 1;

	__atomic_store_n(&seats[comm->rank].steps, steps, __ATOMIC_RELEASE);
	for (int i = 0; i < comm->ranks; i++)
		for (;;) {
			const int gone = seats[i].pid && kill(seats[i].pid, 0) && errno == ESRCH;

			/* Asked after: he may have come and gone. */
			if (__atomic_load_n(&seats[i].steps, __ATOMIC_ACQUIRE) >= steps)
				break;
			if (gone)
				return ncclRemoteError;
			nanosleep(&nap, NULL);
		}
	return ncclSuccess;
}

static struct room *
enter(const ncclUniqueId *given)
{
	void *room = MAP_FAILED;
	char path[64];
	struct id id;
	int fd;

	memcpy(&id, given, sizeof id);
	snprintf(path, sizeof path, "/proc/%d/fd/%d", id.pid, id.fd);
	fd = memcmp(id.magic, magic, sizeof magic) ? -1 : open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		room = mmap(NULL, sizeof(struct room), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	return room == MAP_FAILED ? NULL : (struct room *)room;
}

ncclResult_t
ncclCommInitRank(ncclComm_t *out, int ranks, ncclUniqueId id, int rank)
{
	struct ncclComm *comm;
	struct room *room;
	struct seat *seats;

	if (!out || ranks < 1 || ranks > MOST || rank < 0 || rank >= ranks)
		return ncclInvalidArgument;
	if (emu_device())
		return ncclUnhandledCudaError;
	/* As NCCL does, where it is told to tell. */
	if (getenv("NCCL_DEBUG")) {
		printf("NCCL version emulated\n");
		fflush(stdout);
	}
	room = enter(&id);
	if (!room)
		return ncclSystemError;
	seats = room->seats;
	if (__atomic_exchange_n(&seats[rank].pid, getpid(), __ATOMIC_ACQ_REL))
		emu_die("ncclCommInitRank: rank %d is taken", rank);
	seats[rank].ranks = ranks;
	cudaGetDevice(&seats[rank].device);
	comm = new ncclComm{ room, rank, ranks, ncclSuccess, false };
	if (wait_for_all(comm))
		return ncclRemoteError;
	for (int i = 0; i < ranks; i++) {
		if (seats[i].ranks != ranks)
			emu_die("ncclCommInitRank: rank %d says %d ranks, rank %d says %d", rank, ranks, i,
			        seats[i].ranks);
		/* NCCL: duplicate GPU detected. */
		if (i != rank && seats[i].device == seats[rank].device)
			return ncclInvalidUsage;
	}
	*out = comm;
	return ncclSuccess;
}

/* Of one slice. */
static ncclResult_t
mean(struct ncclComm *comm, float *out, const float *in, size_t n)
{
	const struct seat *seats = comm->room->seats;
	const float share = 1 / (float)comm->ranks;

	memcpy(comm->room->slices[comm->rank], in, n * sizeof *in);
	if (wait_for_all(comm))
		return ncclRemoteError;
	for (int i = 0; i < comm->ranks; i++)
		if (seats[i].count != seats[comm->rank].count)
			emu_die("ncclAllReduce: rank %d has %zu values, rank %d has %zu", comm->rank,
			        seats[comm->rank].count, i, seats[i].count);
	for (size_t j = 0; j < n; j++) {
		float sum = 0;

		for (int i = 0; i < comm->ranks; i++)
			sum += share * comm->room->slices[i][j];
		out[j] = sum;
	}
	return wait_for_all(comm);
}

ncclResult_t
ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
              cudaStream_t stream)
{
	const float *in = (const float *)send;
	float *out = (float *)receive;
	size_t at = 0;

	if (!comm)
		return ncclInvalidArgument;
	if (type != ncclFloat32 || op != ncclAvg)
		emu_die("ncclAllReduce: type %d, operation %d: only the mean of float32 is emulated", type, op);
	emu_check_stream("ncclAllReduce", stream);
	emu_check_device("ncclAllReduce", "what is sent,", in, count * sizeof *in);
	emu_check_device("ncclAllReduce", "what is received,", out, count * sizeof *out);
	if (in != out && in < out + count && out < in + count)
		emu_die("ncclAllReduce: what is sent and what is received overlap");
	/* The host waits for a mean, unless it never ends. */
	if (!comm->error)
		emu_late_finish(stream, emu_late_last());
	struct emu_device_open open;

	emu_late_do(stream, [] {});
	comm->room->seats[comm->rank].count = count;
	do {
		const size_t n = count - at < SLICE ? count - at : SLICE;

		if (!comm->error)
			comm->error = mean(comm, out + at, in + at, n);
		at += n;
	} while (at < count && !comm->error);
	if (comm->error)
		emu_late_never(stream, "a rank of ncclAllReduce is gone");
	return ncclSuccess;
}

ncclResult_t
ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
	if (!comm || !error)
		return ncclInvalidArgument;
	*error = comm->asked ? comm->error : ncclSuccess;
	comm->asked = comm->error != ncclSuccess;
	return ncclSuccess;
}

const char *
ncclGetErrorString(ncclResult_t result)
{
	switch (result) {
	case ncclSuccess:
		return "no error";
	case ncclUnhandledCudaError:
		return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
	case ncclSystemError:
		return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
	case ncclInternalError:
		return "internal error - please report this issue to the NCCL developers";
	case ncclInvalidArgument:
		return "invalid argument (run with NCCL_DEBUG=WARN for details)";
	case ncclInvalidUsage:
		return "invalid usage (run with NCCL_DEBUG=WARN for details)";
	case ncclRemoteError:
		return "remote process exited or there was a network error";
	case ncclInProgress:
		return "NCCL operation in progress";
	}
	return "unknown result code";
}
