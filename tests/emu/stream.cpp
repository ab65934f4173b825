/*
 * Streams and events. All work is done when its call returns, so nothing is ever waited for but what late.cpp puts
 * off; what is kept is which handles live, and where and when an event was recorded. An event of another process is
 * one like any other.
 */
#include <time.h>

#include "emu.h"

struct CUstream_st {
	static constexpr const char *NAME = "a stream";
	unsigned flags;
};

struct CUevent_st {
	static constexpr const char *NAME = "an event";
	unsigned flags;
	int recorded;
	struct timespec when;
	cudaStream_t stream;
	uint64_t number; /* of the last work before it */
};

void
emu_check_stream(const char *call, cudaStream_t stream)
{
	if (stream && stream != cudaStreamLegacy && stream != cudaStreamPerThread)
		emu_check_handle(call, stream);
}

int
emu_stream_blocks(cudaStream_t stream)
{
	return !stream || stream == cudaStreamLegacy || stream == cudaStreamPerThread ||
	       !(stream->flags & cudaStreamNonBlocking);
}

cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
	if (emu_device())
		return cudaErrorNoDevice;
	if (!stream || flags > cudaStreamNonBlocking)
		return emu_error(cudaErrorInvalidValue);
	*stream = emu_new_handle(CUstream_st{ flags });
	return cudaSuccess;
}

cudaError_t
cudaStreamCreate(cudaStream_t *stream)
{
	return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t
cudaStreamDestroy(cudaStream_t stream)
{
	emu_late_finish(stream, emu_late_last());
	emu_delete_handle("cudaStreamDestroy", stream);
	return cudaSuccess;
}

cudaError_t
cudaStreamSynchronize(cudaStream_t stream)
{
	emu_check_stream("cudaStreamSynchronize", stream);
	emu_check_refused();
	emu_late_finish(stream, emu_late_last());
	return emu_device();
}

cudaError_t
cudaStreamQuery(cudaStream_t stream)
{
	emu_check_stream("cudaStreamQuery", stream);
	if (emu_late_busy(stream, emu_late_last()))
		return emu_error(cudaErrorNotReady);
	emu_late_finish(stream, emu_late_last());
	return emu_device();
}

cudaError_t
cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
	emu_check_stream("cudaStreamWaitEvent", stream);
	emu_check_handle("cudaStreamWaitEvent", event);
	if (event->recorded && event->stream != stream)
		emu_late_wait(stream, event->stream, event->number);
	return flags ? emu_error(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t
cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
	if (emu_device())
		return cudaErrorNoDevice;
	if (!event || flags > 7 || (flags & cudaEventInterprocess && !(flags & cudaEventDisableTiming)))
		return emu_error(cudaErrorInvalidValue);
	*event = emu_new_handle(CUevent_st{ flags, 0, {}, NULL, 0 });
	return cudaSuccess;
}

cudaError_t
cudaEventCreate(cudaEvent_t *event)
{
	return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t
cudaEventDestroy(cudaEvent_t event)
{
	emu_delete_handle("cudaEventDestroy", event);
	return cudaSuccess;
}

cudaError_t
cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
	emu_check_handle("cudaEventRecord", event);
	emu_check_stream("cudaEventRecord", stream);
	event->recorded = 1;
	event->stream = stream;
	event->number = emu_late_last();
	clock_gettime(CLOCK_MONOTONIC, &event->when);
	return cudaSuccess;
}

cudaError_t
cudaEventSynchronize(cudaEvent_t event)
{
	emu_check_handle("cudaEventSynchronize", event);
	emu_check_refused();
	if (event->recorded)
		emu_late_finish(event->stream, event->number);
	return cudaSuccess;
}

cudaError_t
cudaEventQuery(cudaEvent_t event)
{
	emu_check_handle("cudaEventQuery", event);
	if (event->recorded && emu_late_busy(event->stream, event->number))
		return emu_error(cudaErrorNotReady);
	if (event->recorded)
		emu_late_finish(event->stream, event->number);
	return cudaSuccess;
}

cudaError_t
cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
	emu_check_handle("cudaEventElapsedTime", start);
	emu_check_handle("cudaEventElapsedTime", end);
	if (!ms)
		return emu_error(cudaErrorInvalidValue);
	if (!start->recorded || !end->recorded || (start->flags | end->flags) & cudaEventDisableTiming)
		return emu_error(cudaErrorInvalidResourceHandle);
	*ms = (float)((double)(end->when.tv_sec - start->when.tv_sec) * 1e3 +
	              (double)(end->when.tv_nsec - start->when.tv_nsec) * 1e-6);
	return cudaSuccess;
}

static const char magic[] = "vqaemu1 event";

cudaError_t
cudaIpcGetEventHandle(cudaIpcEventHandle_t *handle, cudaEvent_t event)
{
	emu_check_handle("cudaIpcGetEventHandle", event);
	if (!handle || !(event->flags & cudaEventInterprocess))
		return emu_error(cudaErrorInvalidValue);
	memset(handle, 0, sizeof *handle);
	memcpy(handle, magic, sizeof magic);
	return cudaSuccess;
}

cudaError_t
cudaIpcOpenEventHandle(cudaEvent_t *event, cudaIpcEventHandle_t handle)
{
	if (memcmp(&handle, magic, sizeof magic))
		return emu_error(cudaErrorInvalidResourceHandle);
	return cudaEventCreateWithFlags(event, cudaEventInterprocess | cudaEventDisableTiming);
}
