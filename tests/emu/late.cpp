/*
 * With VQA_EMU_LATE=1: what a stream is asked for is done when the host waits for it and no sooner, in the stream's order, and after what
 * the stream was told to wait for. So a wait that is missing shows: old values are read, or none.
 *
 * What a copy overwrites is lost before: pinned memory at once, and where a copy comes from the host, and nothing but such copies is
 * before it in its stream, device memory, too. NaN bytes lie there until the copy is done. Its pinned source must be unchanged then, or the
 * process ends. A copy to pageable memory is waited for, as by CUDA itself. What a kernel or a copy reads in pinned memory is what
 * the host would read. Who only asks whether a stream or an event has come to its end is told once that it has not, of any work; when he
 * asks again, it has.
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
queue(cudaStream_t stream, std::function<void()> work, bool begun, bool never = false)
{
	pending()[named(stream)].push_back({ ++last, std::move(work), begun, never, false });
}

void
emu_late_do(cudaStream_t stream, std::function<void()> work)
{
	if (is_late())
		queue(stream, std::move(work), false);
	else
		work();
}

void
emu_late_wait(cudaStream_t stream, cudaStream_t other, uint64_t number)
{
	emu_late_do(stream, [=] { emu_late_finish(other, number); });
}

void
emu_late_never(cudaStream_t stream, const char *why)
{
	queue(
		stream, [=] { emu_die("work is waited for that never ends: %s", why); }, false, true);
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
late_from_host(void *dst, const void *src, size_t size, cudaStream_t stream)
{
	const std::vector<char> bytes((const char *)src, (const char *)src + size);
	const bool pinned = is_pinned(src), begun = begins_at_once(stream);

	if (begun)
		memset(dst, 0xff, size);
	queue(
		stream,
		[=] {
			struct emu_device_open open;

			if (pinned && memcmp(src, bytes.data(), size))
				emu_die("cudaMemcpyAsync: the source %p of %zu bytes, pinned, has changed before its "
			                "stream was waited for",
			                src, size);
			memcpy(dst, bytes.data(), size);
		},
		begun);
}

void
emu_late_copy(void *dst, const void *src, size_t size, cudaStream_t stream)
{
	if (is_late() && is_device(dst) && !is_device(src)) {
		late_from_host(dst, src, size, stream);
		return;
	}
	emu_late_do(stream, [=] {
		struct emu_device_open open;

		memcpy(dst, src, size);
	});
	if (is_pinned(dst) && is_late())
		memset(dst, 0xff, size);
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

/* --- Who asks. */

static bool
ask(std::list<struct late> *works, uint64_t number)
{
	bool busy = false;

	for (struct late &l : *works)
		if (l.number <= number) {
			busy = busy || !l.asked || l.never;
			l.asked = true;
		}
	return busy;
}

bool
emu_late_busy(cudaStream_t stream, uint64_t number)
{
	bool busy = ask(&pending()[named(stream)], number);

	for (auto &[other, works] : pending())
		if (!named(stream) && other && !works.empty() && emu_stream_blocks(other))
			busy = ask(&works, number) || busy;
	return busy;
}

void
emu_late_finish_all(void)
{
	for (auto &[stream, works] : pending())
		run(stream, last);
}
