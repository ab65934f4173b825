/*
 * The device, its streams, memory there, and what went wrong.
 */
#include <stdio.h>
#include <stdlib.h>

#include "op/cuda/kernel.h"

cudaStream_t cuda_stream;
struct device_facts cuda_device;

static char fault[256];

void
cuda_fault(const char *what, const char *reason)
{
	if (!fault[0])
		snprintf(fault, sizeof fault, "%s: %s", what, reason);
}

int
cuda_check(cudaError_t status, const char *what)
{
	if (status == cudaSuccess)
		return 0;
	cuda_fault(what, cudaGetErrorString(status));
	return -1;
}

/* -1 and the first fault since it was told last, if there was one. */
static int
tell(struct err *err)
{
	if (!fault[0])
		return 0;
	err_set(err, "cuda backend: %s", fault);
	fault[0] = '\0';
	return -1;
}

int
cuda_sync(struct err *err)
{
	if (!cuda_ranks_wait())
		cuda_check(cudaStreamSynchronize(cuda_stream), "cudaStreamSynchronize");
	return tell(err);
}

static int
make_event(cudaEvent_t *event)
{
	return cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}

/* --- From the host: page-locked memory that is filled while the device reads its twin. */

constexpr int STAGE = 4 << 20;

static struct {
	char *at[2];
	cudaEvent_t sent[2];
	int next;
	/* The one that is filled: n bytes, which go to dst. */
	char *dst;
	size_t n;
} stages;

/* Of what is sent beside the operations. */
static cudaStream_t sending;
static cudaEvent_t arrived;

static int
open_stages(void)
{
	for (int i = 0; i < 2; i++)
		if (cuda_check(cudaMallocHost((void **)&stages.at[i], STAGE), "cudaMallocHost") ||
		    make_event(&stages.sent[i]))
			return -1;
	return make_event(&arrived);
}

/* What there is of them. */
static void
close_stages(void)
{
	for (int i = 0; i < 2; i++) {
		if (stages.sent[i])
			cudaEventDestroy(stages.sent[i]);
		if (stages.at[i])
			cudaFreeHost(stages.at[i]);
		stages.sent[i] = NULL;
		stages.at[i] = NULL;
	}
	if (arrived)
		cudaEventDestroy(arrived);
	arrived = NULL;
}

/* The stage that is filled goes, and the other one is next. */
static void
depart(cudaStream_t stream)
{
	const int i = stages.next;

	if (!stages.n)
		return;
	cuda_check(cudaMemcpyAsync(stages.dst, stages.at[i], stages.n, cudaMemcpyHostToDevice, stream),
	           "cudaMemcpyAsync");
	cuda_check(cudaEventRecord(stages.sent[i], stream), "cudaEventRecord");
	stages.n = 0;
	stages.next = !i;
}

/* What goes on where the stage at hand ends goes with it, in one copy. */
static void
load(void *dst, const void *host, size_t bytes, cudaStream_t stream)
{
	for (size_t from = 0, n; from < bytes; from += n) {
		char *to = (char *)dst + from;

		if (stages.n == STAGE || to != stages.dst + stages.n)
			depart(stream);
		if (!stages.n) {
			cuda_check(cudaEventSynchronize(stages.sent[stages.next]), "cudaEventSynchronize");
			stages.dst = to;
		}
		n = bytes - from < STAGE - stages.n ? bytes - from : STAGE - stages.n;
		memcpy(stages.at[stages.next] + stages.n, (const char *)host + from, n);
		stages.n += n;
	}
}

void
cuda_put(void *dst, const void *host, size_t bytes)
{
	load(dst, host, bytes, cuda_stream);
	depart(cuda_stream);
}

void
cuda_send(void *dst, const void *host, size_t bytes)
{
	load(dst, host, bytes, sending);
}

void
cuda_arrive(void)
{
	depart(sending);
	cuda_check(cudaEventRecord(arrived, sending), "cudaEventRecord");
	cuda_check(cudaStreamWaitEvent(cuda_stream, arrived, 0), "cudaStreamWaitEvent");
}

/* --- To the host. */

void
cuda_get(void *host, const void *src, size_t bytes)
{
	if (bytes)
		cuda_check(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, cuda_stream), "cudaMemcpyAsync");
	cuda_check(cudaStreamSynchronize(cuda_stream), "cudaStreamSynchronize");
}

static struct {
	void *at; /* page-locked */
	size_t room;
	cudaEvent_t there;
} results[TURNS];

static int
open_results(void)
{
	for (int turn = 0; turn < TURNS; turn++)
		if (make_event(&results[turn].there))
			return -1;
	return 0;
}

static void
close_results(void)
{
	for (int turn = 0; turn < TURNS; turn++) {
		if (results[turn].there)
			cudaEventDestroy(results[turn].there);
		results[turn].there = NULL;
	}
}

static int
grow_result(int turn, size_t bytes)
{
	if (bytes <= results[turn].room)
		return 0;
	cudaFreeHost(results[turn].at);
	results[turn].at = NULL;
	results[turn].room = 0;
	if (cuda_check(cudaMallocHost(&results[turn].at, bytes), "cudaMallocHost"))
		return -1;
	results[turn].room = bytes;
	return 0;
}

void
cuda_fetch(int turn, const void *src, size_t bytes)
{
	if (grow_result(turn, bytes))
		return;
	cuda_check(cudaMemcpyAsync(results[turn].at, src, bytes, cudaMemcpyDeviceToHost, cuda_stream),
	           "cudaMemcpyAsync");
	cuda_check(cudaEventRecord(results[turn].there, cuda_stream), "cudaEventRecord");
}

const void *
cuda_fetched(int turn, struct err *err)
{
	cuda_check(cudaEventSynchronize(results[turn].there), "cudaEventSynchronize");
	return tell(err) ? NULL : results[turn].at;
}

/* --- On the device. */

void *
cuda_alloc(size_t bytes)
{
	void *out = NULL;

	if (cudaMalloc(&out, bytes ? bytes : 1) == cudaSuccess)
		return out;
	cudaGetLastError(); /* the caller says that there is no memory */
	return NULL;
}

void
cuda_free(void *p)
{
	cudaFree(p);
}

void
cuda_copy(void *dst, const void *src, size_t bytes)
{
	if (bytes)
		cuda_check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, cuda_stream), "cudaMemcpyAsync");
}

void
cuda_zero(void *dst, size_t bytes)
{
	if (bytes)
		cuda_check(cudaMemsetAsync(dst, 0, bytes, cuda_stream), "cudaMemsetAsync");
}

struct kept {
	void *at;
	size_t bytes;
};

/* At least so many bytes, whatever was there lost. cudaFree waits for those who still read it. */
static void *
grow(struct kept *kept, size_t bytes)
{
	if (kept->bytes < bytes) {
		cuda_free(kept->at);
		kept->at = cuda_alloc(bytes);
		kept->bytes = kept->at ? bytes : 0;
		if (!kept->at)
			cuda_fault("cudaMalloc", "out of memory for an operation's scratch");
	}
	return kept->at;
}

void *
cuda_scratch(enum cuda_scratch which, size_t bytes)
{
	static struct kept all[SCRATCHES];

	return grow(&all[which], bytes);
}

void *
cuda_host_scratch(size_t bytes)
{
	static struct kept all;

	if (all.bytes < bytes) {
		free(all.at);
		all.at = malloc(bytes);
		all.bytes = all.at ? bytes : 0;
		if (!all.at)
			cuda_fault("malloc", "out of memory for an operation's scratch");
	}
	return all.at;
}

/* --- Offsets, tokens and indices: the host's, and their copies. */

constexpr int MIRRORS = 64;

/* The device has the first n of `sent`. */
struct mirror {
	const int *host; /* where they came from */
	size_t n, room;
	int *sent;        /* (room) page-locked */
	cudaEvent_t done; /* sent has been read */
	struct kept device;
	uint64_t used; /* when it was asked for last */
};

static struct {
	struct mirror all[MIRRORS];
	uint64_t now;
} mirrors;

/* Of what lies at `host`: the one that there is, or else the one that has waited longest, emptied. */
static struct mirror *
mirror_of(const int *host)
{
	struct mirror *oldest = &mirrors.all[0], *m = NULL;

	for (int i = 0; i < MIRRORS && !m; i++) {
		if (mirrors.all[i].host == host)
			m = &mirrors.all[i];
		if (mirrors.all[i].used < oldest->used)
			oldest = &mirrors.all[i];
	}
	if (!m) {
		m = oldest;
		m->host = host;
		m->n = 0;
	}
	m->used = ++mirrors.now;
	return m;
}

/* Room for n, at least 1; what grows is emptied. */
static int
grow_mirror(struct mirror *m, size_t n)
{
	if (!m->done && make_event(&m->done))
		return -1;
	if (n <= m->room)
		return 0;
	cuda_check(cudaEventSynchronize(m->done), "cudaEventSynchronize");
	cudaFreeHost(m->sent);
	m->n = m->room = 0;
	m->sent = NULL;
	if (cuda_check(cudaMallocHost((void **)&m->sent, n * sizeof *m->sent), "cudaMallocHost") ||
	    !grow(&m->device, n * sizeof *m->sent))
		return -1;
	m->room = n;
	return 0;
}

const int *
cuda_mirror(const int *host, size_t n)
{
	const size_t bytes = n * sizeof *host;
	struct mirror *m = mirror_of(host);

	if (grow_mirror(m, n ? n : 1))
		return NULL;
	if (n <= m->n && !memcmp(m->sent, host, bytes))
		return (const int *)m->device.at;
	m->n = 0;
	if (cuda_check(cudaEventSynchronize(m->done), "cudaEventSynchronize"))
		return NULL;
	memcpy(m->sent, host, bytes);
	if (cuda_check(cudaMemcpyAsync(m->device.at, m->sent, bytes, cudaMemcpyHostToDevice, cuda_stream),
	               "cudaMemcpyAsync") ||
	    cuda_check(cudaEventRecord(m->done, cuda_stream), "cudaEventRecord"))
		return NULL;
	m->n = n;
	return (const int *)m->device.at;
}

/* --- Between processes: the handle of a whole block of cudaMalloc's. */

static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(struct loan), "a loan is CUDA's handle");

int
cuda_lend(const void *memory, struct loan *loan, struct err *err)
{
	const cudaError_t status = cudaIpcGetMemHandle((cudaIpcMemHandle_t *)loan, (void *)memory);

	return status == cudaSuccess
	               ? 0
	               : err_set(err, "cuda backend: its memory cannot be shared: %s", cudaGetErrorString(status));
}

void *
cuda_borrow(const struct loan *loan, struct err *err)
{
	void *out = NULL;
	cudaIpcMemHandle_t handle;
	cudaError_t status;

	memcpy(&handle, loan, sizeof handle);
	status = cudaIpcOpenMemHandle(&out, handle, cudaIpcMemLazyEnablePeerAccess);
	if (status == cudaSuccess)
		return out;
	err_set(err, "cuda backend: memory of another process cannot be opened: %s", cudaGetErrorString(status));
	return NULL;
}

void
cuda_give_back(void *memory)
{
	cudaIpcCloseMemHandle(memory);
}

/* --- The beginning. */

static int
ask(int *out, enum cudaDeviceAttr what, int device)
{
	return cuda_check(cudaDeviceGetAttribute(out, what, device), "cudaDeviceGetAttribute");
}

static int
make_stream(cudaStream_t *stream)
{
	return cuda_check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

static void
end_stream(cudaStream_t *stream)
{
	if (*stream)
		cudaStreamDestroy(*stream);
	*stream = NULL;
}

static int
open_device(int device)
{
	return cuda_check(cudaSetDevice(device), "cudaSetDevice") ||
	                       ask(&cuda_device.shared_most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) ||
	                       ask(&cuda_device.major, cudaDevAttrComputeCapabilityMajor, device) ||
	                       make_stream(&cuda_stream) || make_stream(&sending) || open_stages() || open_results()
	               ? -1
	               : 0;
}

/* What there is of it: the process may go on without. */
static void
close_device(void)
{
	close_results();
	close_stages();
	end_stream(&sending);
	end_stream(&cuda_stream);
}

int
cuda_open(int *device, int round, struct err *err)
{
	int count = 0;
	cudaError_t status = cudaGetDeviceCount(&count);

	if (status != cudaSuccess)
		return err_set(err, "no GPU can be used: %s", cudaGetErrorString(status));
	if (round && count)
		*device %= count;
	if (*device >= count)
		return err_set(err, "device 'cuda:%d' is not here, expected one below %d", *device, count);
	if (!open_device(*device))
		return 0;
	err_set(err, "device 'cuda:%d' cannot be used: %s", *device, fault);
	fault[0] = '\0';
	close_device();
	return -1;
}

const char *
cuda_device_name(void)
{
	static struct cudaDeviceProp told;
	int device;

	if (cudaGetDevice(&device) == cudaSuccess && cudaGetDeviceProperties(&told, device) == cudaSuccess)
		return told.name;
	cudaGetLastError(); /* no operation failed */
	return "unknown";
}
