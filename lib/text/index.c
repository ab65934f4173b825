/*
 * Open addressing with linear probing, at most three quarters full; slots hold numbers, so that growing moves nothing else.
 */
#include "text/index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sys/hash.h"

enum { SIZE_FIRST = 48 }; /* three quarters of a power of two, and so twice that for ever */

/* Without random bytes the set works all the same. */
static uint64_t
secret_new(void)
{
	uint64_t secret = 0;

	return getrandom(&secret, sizeof secret, GRND_NONBLOCK) == (ssize_t)sizeof secret ? secret : 0;
}

/* Consecutive ids are the usual case: spread them (the finalizer of MurmurHash3). */
static uint32_t
id_hash(uint64_t secret, int64_t id)
{
	uint64_t h = (uint64_t)id ^ secret;

	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	return (uint32_t)(h ^ h >> 33);
}

static uint32_t
id_slot(const struct ids *ids, int64_t id)
{
	uint32_t at = id_hash(ids->secret, id) & ids->mask;

	while (ids->slots[at] && ids->id[ids->slots[at] - 1] != id)
		at = (at + 1) & ids->mask;
	return at;
}

int64_t
ids_find(const struct ids *ids, int64_t id)
{
	return ids->slots ? (int64_t)ids->slots[id_slot(ids, id)] - 1 : INDEX_NONE;
}

/* Room for `size` members, and empty slots for them, a third more, which are the caller's. NULL: no memory, nothing has changed. */
static uint32_t *
slots_new(void *members, size_t member_size, uint32_t size)
{
	uint32_t *slots = size < INDEX_MAX ? calloc(size / 3 * 4, sizeof *slots) : NULL;
	void *more = slots ? realloc(*(void **)members, size * member_size) : NULL;

	if (more) {
		*(void **)members = more;
		return slots;
	}
	free(slots);
	return NULL;
}

static int
ids_grow(struct ids *ids)
{
	uint32_t size = ids->size ? 2 * ids->size : SIZE_FIRST;
	uint32_t *slots = slots_new(&ids->id, sizeof *ids->id, size);

	if (!slots)
		return -1;
	if (!ids->slots)
		ids->secret = secret_new();
	free(ids->slots);
	ids->slots = slots;
	ids->size = size;
	ids->mask = size / 3 * 4 - 1;
	for (uint32_t i = 0; i < ids->count; i++)
		ids->slots[id_slot(ids, ids->id[i])] = i + 1;
	return 0;
}

int64_t
ids_add(struct ids *ids, int64_t id)
{
	uint32_t at;

	if (ids->count == ids->size && ids_grow(ids))
		return INDEX_FULL;
	at = id_slot(ids, id);
	if (ids->slots[at])
		return (int64_t)ids->slots[at] - 1;
	ids->id[ids->count++] = id;
	ids->slots[at] = ids->count;
	return INDEX_NONE;
}

void
ids_free(struct ids *ids)
{
	free(ids->id);
	free(ids->slots);
	*ids = (struct ids){ 0 };
}

const char *
names_get(const struct names *names, uint32_t number)
{
	return names->bytes + names->at[number];
}

static uint32_t
name_slot(const struct names *names, const char *name)
{
	uint32_t at = (uint32_t)fnv1a(FNV_BEGIN ^ names->secret, name, strlen(name)) & names->mask;

	while (names->slots[at] && strcmp(names_get(names, names->slots[at] - 1), name))
		at = (at + 1) & names->mask;
	return at;
}

int64_t
names_find(const struct names *names, const char *name)
{
	return names->slots ? (int64_t)names->slots[name_slot(names, name)] - 1 : INDEX_NONE;
}

static int
names_grow(struct names *names)
{
	uint32_t size = names->size ? 2 * names->size : SIZE_FIRST;
	uint32_t *slots = slots_new(&names->at, sizeof *names->at, size);

	if (!slots)
		return -1;
	if (!names->slots)
		names->secret = secret_new();
	free(names->slots);
	names->slots = slots;
	names->size = size;
	names->mask = size / 3 * 4 - 1;
	for (uint32_t i = 0; i < names->count; i++)
		names->slots[name_slot(names, names_get(names, i))] = i + 1;
	return 0;
}

int64_t
names_add(struct names *names, const char *name)
{
	size_t n = strlen(name) + 1;
	uint32_t slot;

	if (names->count == names->size && names_grow(names))
		return INDEX_FULL;
	slot = name_slot(names, name);
	if (names->slots[slot])
		return (int64_t)names->slots[slot] - 1;
	if (names->used + n > names->room) {
		size_t room = 2 * (names->used + n) + 4096;
		char *bytes = realloc(names->bytes, room);

		if (!bytes)
			return INDEX_FULL;
		names->bytes = bytes;
		names->room = room;
	}
	memcpy(names->bytes + names->used, name, n);
	names->at[names->count] = names->used;
	names->used += n;
	names->slots[slot] = ++names->count;
	return (int64_t)names->count - 1;
}

void
names_free(struct names *names)
{
	free(names->bytes);
	free(names->at);
	free(names->slots);
	*names = (struct names){ 0 };
}
