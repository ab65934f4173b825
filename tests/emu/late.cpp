/*
 * With VQA_EMU_LATE=1: what a stream is asked for is done when the host waits for it and no sooner, in the stream's order, and after what
 * the stream was told to wait for. So a wait that is missing shows: old values are read, or none.
 *
 * What a copy overwrites is lost before: pinned memory at once, and where a copy comes from the host, and nothing but such copies is
 * before it in its stream, device memory, too. NaN bytes lie there until the copy is done. Its pinned source must be unchanged then, or the
 * process ends. A copy to pageable memory is waited for, as by CUDA itself. What a kernel or a copy reads in pinned memory is what
 * the host would read. Who only asks whether a stream or an event has come to its end is told once that it has not; when he asks again,
 * it has.
 *
 * With or without it: work that never ends can only be asked about; who waits for it ends the process.
 */
#include <stdlib.h>

#include <algorithm>
#include <list>
#include <vector>

#include "emu.h"

struct late {
	uint64_t number;
	std::function<void()> work;
	bool begun; /* a copy from the host that has lost what it overwrites */
	bool never; /* it has no end */
	bool asked;
};

static uint64_t last;

static std::map<cudaStream_t, std::list<struct late>> &
pending(void)
{
	/* Never destroyed: exit() may come before the last call. */
	static auto *all = new std::map<cudaStream_t, std::list<struct late>>;

	return *all;
}

static int
is_late(void)
{
	const char *said = getenv("VQA_EMU_LATE");

	return said && !strcmp(said, "1");
}

uint64_t
emu_late_last(void)
{
	return last;
}

static cudaStream_t
named(cudaStream_t stream)
{
	return stream == cudaStreamLegacy ? NULL : stream;
}

static void
queue(cudaStream_t stream, struct late l)
{
	l.number = ++last;
	pending()[named(stream)].push_back(std::move(l));
}

void
emu_late_do(cudaStream_t stream, std::function<void()> work)
{
	if (is_late())
		queue(stream, { .work = std::move(work) });
	else
		work();
}

void
emu_late_never(cudaStream_t stream, const char *why)
{
	queue(stream, { .work = [=] { emu_die("work is waited for that never ends: %s", why); }, .never = true });
}

void
emu_late_wait(cudaStream_t stream, cudaStream_t other, uint64_t number)
{
	emu_late_do(stream, [=] { emu_late_finish(other, number); });
}

/* --- Copies. */

static int
kind_of(const void *p)
{
	const struct emu_memory *m = emu_memory_find(p);

	return m ? m->kind : -1;
}

static int
is_device(const void *p)
{
	return kind_of(p) == EMU_DEVICE || kind_of(p) == EMU_OPENED;
}

static int
is_pinned(const void *p)
{
	return kind_of(p) == EMU_PINNED || kind_of(p) == EMU_REGISTERED;
}

static bool
begins_at_once(cudaStream_t stream)
{
	const std::list<struct late> &before = pending()[named(stream)];

	return !emu_stream_blocks(stream) &&
	       std::all_of(before.begin(), before.end(), [](const struct late &l) { return l.begun; });
}

static void
lose(void *dst, size_t size)
{
	struct emu_device_open open(dst, NULL);

	memset(dst, 0xff, size);
}

static void
copy(void *dst, const void *src, size_t size)
{
	struct emu_device_open open(dst, src);

	memcpy(dst, src, size);
}

/* bytes: what was at src when it was asked for. */
static void
deliver(void *dst, const void *src, const std::vector<char> &bytes)
{
	if (is_pinned(src) && memcmp(src, bytes.data(), bytes.size()))
		emu_die("cudaMemcpyAsync: the source %p of %zu bytes, pinned, has changed before its stream was waited "
		        "for",
		        src, bytes.size());
	copy(dst, bytes.data(), bytes.size());
}

static void
late_from_host(void *dst, const void *src, size_t size, cudaStream_t stream)
{
	const std::vector<char> bytes((const char *)src, (const char *)src + size);
	const bool begun = begins_at_once(stream);

	if (begun)
		lose(dst, size);
	queue(stream, { .work = [=] { deliver(dst, src, bytes); }, .begun = begun });
}

void
emu_late_copy(void *dst, const void *src, size_t size, cudaStream_t stream)
{
	if (is_late() && is_device(dst) && !is_device(src)) {
		late_from_host(dst, src, size, stream);
		return;
	}
	emu_late_do(stream, [=] { copy(dst, src, size); });
	if (is_pinned(dst) && is_late())
		lose(dst, size);
	else if (!is_device(dst))
		emu_late_finish(stream, last);
}

/* --- Who waits. CUDA's default stream waits for the others and they for it, but those that asked not to. */

static void run(cudaStream_t stream, uint64_t number);

static void
run_blocking(uint64_t number)
{
	/* One with nothing to do may have been destroyed. */
	for (auto &[stream, works] : pending())
		if (stream && !works.empty() && emu_stream_blocks(stream))
			run(stream, number);
}

static void
run(cudaStream_t stream, uint64_t number)
{
	std::list<struct late> &works = pending()[stream];

	while (!works.empty() && works.front().number <= number) {
		const uint64_t before = works.front().number - 1;
		std::function<void()> work;

		if (!stream)
			run_blocking(before);
		else if (emu_stream_blocks(stream))
			run(NULL, before);
		work = std::move(works.front().work);
		works.pop_front();
		work();
	}
}

void
emu_late_finish(cudaStream_t stream, uint64_t number)
{
	run(named(stream), number);
	if (!named(stream))
		run_blocking(number);
}

bool
emu_late_busy(cudaStream_t stream, uint64_t number)
{
	bool busy = false;

	for (auto &[other, works] : pending()) {
		if (other != named(stream) && (named(stream) || works.empty() || !emu_stream_blocks(other)))
			continue;
		for (struct late &l : works)
			if (l.number <= number) {
				busy = busy || !l.asked || l.never;
				l.asked = true;
			}
	}
	return busy;
}

void
emu_late_finish_all(void)
{
	for (auto &[stream, works] : pending())
		run(stream, last);
}
