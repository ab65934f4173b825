/*
 * The memory that a launch can reach: found as a garbage collector would, from the words of its arguments that may be addresses on, and
 * from those of the memory they lead to. Registered memory is the host's, and may be read-only: it is left out.
 */
#include <algorithm>

#include "emu.h"

static void
follow(std::vector<struct emu_memory *> *reached, const void *from, size_t size)
{
	auto &all = emu_memories();
	const char *word;

	if (all.empty())
		return;
	const struct emu_memory *end = &all.rbegin()->second;

	for (size_t i = 0; i + sizeof word <= size; i += sizeof word) {
		memcpy(&word, (const char *)from + i, sizeof word);
		if (word < all.begin()->first || word > end->base + end->size)
			continue;
		struct emu_memory *m = emu_memory_find(word);

		if (m && m->kind != EMU_REGISTERED && std::find(reached->begin(), reached->end(), m) == reached->end())
			reached->push_back(m);
	}
}

std::vector<struct emu_memory *>
emu_reached(const struct emu_call *call)
{
	std::vector<struct emu_memory *> reached;

	follow(&reached, call->args.get(), call->args_size);
	for (size_t i = 0; i < reached.size(); i++)
		follow(&reached, reached[i]->base, reached[i]->size);
	return reached;
}

void
emu_save(std::vector<char> *to, const std::vector<struct emu_memory *> &memories)
{
	to->clear();
	for (const struct emu_memory *m : memories)
		to->insert(to->end(), m->base, m->base + m->size);
}

void
emu_restore(const std::vector<char> &from, const std::vector<struct emu_memory *> &memories)
{
	const char *at = from.data();

	for (const struct emu_memory *m : memories) {
		memcpy(m->base, at, m->size);
		at += m->size;
	}
}

[[noreturn]] static void
die_different(const struct emu_memory *m, const char *was, const char *order)
{
	size_t i = 0;

	while (was[i] == m->base[i])
		i++;
	emu_die("race: allocation %p of %zu bytes, offset %zu: 0x%02x with threads in step, 0x%02x in %s order",
	        (void *)m->base, m->size, i, (unsigned char)was[i], (unsigned char)m->base[i], order);
}

void
emu_compare(const std::vector<char> &with, const std::vector<struct emu_memory *> &memories, const char *order)
{
	const char *at = with.data();

	for (const struct emu_memory *m : memories) {
		if (memcmp(at, m->base, m->size))
			die_different(m, at, order);
		at += m->size;
	}
}
