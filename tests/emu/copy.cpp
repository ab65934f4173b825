/*
 * Copies and fills. Each pointer must be what the direction says, and all bytes must lie in one allocation. A copy
 * without a stream is one that the host waits for.
 */
#include "emu.h"

static const char *const directions[] = { "host to host", "host to device", "device to host", "device to device",
	                                  "default" };

static int
is_device(const void *p)
{
	const struct emu_memory *m = emu_memory_find(p);

	return m && m->kind <= EMU_OPENED;
}

static void
check(const char *call, const char *what, const void *p, size_t size, int device, enum cudaMemcpyKind kind)
{
	const struct emu_memory *m = emu_memory_find(p);

	if (kind != cudaMemcpyDefault && device && !is_device(p))
		emu_die("%s: the %s %p is not device memory, but the direction is %s", call, what, p, directions[kind]);
	if (kind != cudaMemcpyDefault && !device && is_device(p))
		emu_die("%s: the %s %p is device memory, but the direction is %s", call, what, p, directions[kind]);
	if (is_device(p))
		emu_check_device(call, what, p, size);
	else if (m && m->kind == EMU_PINNED && size > (size_t)(m->base + m->size - (const char *)p))
		emu_die("%s: the %s %p and %zu bytes pass the end of pinned memory %p of %zu bytes", call, what, p,
		        size, (void *)m->base, m->size);
}

static cudaError_t
copy(const char *call, void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
     enum cudaMemcpyKind kind, const cudaStream_t *stream)
{
	size_t dsize = (height - 1) * dpitch + width, ssize = (height - 1) * spitch + width;

	if (emu_device())
		return cudaErrorNoDevice;
	if (kind > cudaMemcpyDefault)
		return emu_error(cudaErrorInvalidMemcpyDirection);
	if (!width || !height)
		return cudaSuccess;
	if (width > dpitch || width > spitch)
		return emu_error(cudaErrorInvalidPitchValue);
	if (!dst || !src)
		return emu_error(cudaErrorInvalidValue);
	check(call, "destination", dst, dsize, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
	      kind);
	check(call, "source", src, ssize, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, kind);
	if ((const char *)src < (char *)dst + dsize && (char *)dst < (const char *)src + ssize)
		emu_die("%s: source %p and destination %p overlap", call, src, dst);
	for (size_t row = 0; row < height; row++)
		emu_late_copy((char *)dst + row * dpitch, (const char *)src + row * spitch, width,
		              stream ? *stream : NULL);
	if (!stream)
		emu_late_finish(NULL, emu_late_last());
	return cudaSuccess;
}

cudaError_t
cudaMemcpy(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind)
{
	return copy("cudaMemcpy", dst, count, src, count, count, 1, kind, NULL);
}

cudaError_t
cudaMemcpyAsync(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind, cudaStream_t stream)
{
	emu_check_stream("cudaMemcpyAsync", stream);
	return copy("cudaMemcpyAsync", dst, count, src, count, count, 1, kind, &stream);
}

cudaError_t
cudaMemcpy2DAsync(void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
                  enum cudaMemcpyKind kind, cudaStream_t stream)
{
	emu_check_stream("cudaMemcpy2DAsync", stream);
	return copy("cudaMemcpy2DAsync", dst, dpitch, src, spitch, width, height, kind, &stream);
}

static cudaError_t
fill(const char *call, void *p, int value, size_t count, cudaStream_t stream)
{
	if (emu_device())
		return cudaErrorNoDevice;
	if (!count)
		return cudaSuccess;
	emu_check_device(call, "the pointer", p, count);
	emu_late_do(stream, [=] {
		struct emu_device_open open(p, NULL);

		memset(p, value, count);
	});
	return cudaSuccess;
}

cudaError_t
cudaMemset(void *p, int value, size_t count)
{
	return fill("cudaMemset", p, value, count, NULL);
}

cudaError_t
cudaMemsetAsync(void *p, int value, size_t count, cudaStream_t stream)
{
	emu_check_stream("cudaMemsetAsync", stream);
	return fill("cudaMemsetAsync", p, value, count, stream);
}
