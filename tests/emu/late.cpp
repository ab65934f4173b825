/*
 * With VQA_EMU_LATE=1: what an asynchronous copy does to pinned memory is not seen before its stream was waited for. A
 * copy to it gives NaN bytes first and the values then; a copy from it must find its source unchanged then, or the
 * process ends. All else is done at once as ever: pageable memory, too, where CUDA itself waits. What a kernel or a
 * copy reads in pinned memory is what the host would read. Who only asks whether a stream or an event has come to its
 * end is told once that it has not, of any work; when he asks again, it has.
 *
 * With or without it: work that never ends can only be asked about; who waits for it ends the process.
 */
#include <stdlib.h>

#include <list>
#include <vector>

#include "emu.h"

struct late {
	cudaStream_t stream;
	uint64_t number;
	char *dst;       /* pinned, or NULL */
	const char *src; /* pinned, or NULL */
	std::vector<char> bytes;
	cudaStream_t other; /* whose work is waited for, up to a number */
	uint64_t other_number;
	const char *never; /* why it has no end, or NULL */
	bool asked;
};

static uint64_t last;

static std::list<struct late> &
pending(void)
{
	/* Never destroyed: exit() may come before the last call. */
	static auto *all = new std::list<struct late>;

	return *all;
}

static int
is_late(void)
{
	const char *said = getenv("VQA_EMU_LATE");

	return said && !strcmp(said, "1");
}

static int
is_pinned(const void *p)
{
	const struct emu_memory *m = emu_memory_find(p);

	return m && (m->kind == EMU_PINNED || m->kind == EMU_REGISTERED);
}

uint64_t
emu_late_last(void)
{
	return last;
}

static void
push(struct late l)
{
	l.number = ++last;
	pending().push_back(l);
}

/* dst already holds what was copied. */
void
emu_late_copy(void *dst, const void *src, size_t size, cudaStream_t stream)
{
	struct late l = { .stream = stream };

	if (!is_late())
		return;
	if (is_pinned(dst) && !is_pinned(src)) {
		l.dst = (char *)dst;
		l.bytes.assign((char *)dst, (char *)dst + size);
		memset(dst, 0xff, size);
	} else if (is_pinned(src) && !is_pinned(dst)) {
		l.src = (const char *)src;
		l.bytes.assign((const char *)src, (const char *)src + size);
	}
	push(l);
}

void
emu_late_work(cudaStream_t stream)
{
	if (is_late())
		push({ .stream = stream });
}

void
emu_late_wait(cudaStream_t stream, cudaStream_t other, uint64_t number)
{
	if (is_late())
		push({ .stream = stream, .other = other, .other_number = number });
}

void
emu_late_never(cudaStream_t stream, const char *why)
{
	push({ .stream = stream, .never = why });
}

static void
finish(const struct late *l)
{
	if (l->never)
		emu_die("work is waited for that never ends: %s", l->never);
	if (l->dst)
		memcpy(l->dst, l->bytes.data(), l->bytes.size());
	else if (l->other_number)
		emu_late_finish(l->other, l->other_number);
	else if (l->src && memcmp(l->src, l->bytes.data(), l->bytes.size()))
		emu_die("cudaMemcpyAsync: the source %p of %zu bytes, pinned, has changed before its stream was waited "
		        "for",
		        (const void *)l->src, l->bytes.size());
}

/* CUDA's default stream waits for the others, but those that asked not to. */
static bool
belongs(const struct late *l, cudaStream_t stream, uint64_t number)
{
	bool legacy = !stream || stream == cudaStreamLegacy;

	return l->number <= number && (l->stream == stream || (legacy && emu_stream_blocks(l->stream)));
}

bool
emu_late_busy(cudaStream_t stream, uint64_t number)
{
	bool busy = false;

	for (struct late &l : pending())
		if (belongs(&l, stream, number)) {
			busy = busy || !l.asked || l.never;
			l.asked = true;
		}
	return busy;
}

void
emu_late_finish(cudaStream_t stream, uint64_t number)
{
	std::list<struct late> done;

	for (auto l = pending().begin(), next = l; l != pending().end(); l = next) {
		next = std::next(l);
		if (belongs(&*l, stream, number))
			done.splice(done.end(), pending(), l);
	}
	for (const struct late &l : done)
		finish(&l);
}

void
emu_late_finish_all(void)
{
	std::list<struct late> done;

	done.swap(pending());
	for (const struct late &l : done)
		finish(&l);
}
