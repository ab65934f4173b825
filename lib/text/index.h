/*
 * Sets that number their members from 0 in the order they came: of ids, and of names. Both only grow. Where a member goes in a
 * set's table depends on a secret of the set, so that no list can be made whose members all meet in one place.
 */
#ifndef VQA_TEXT_INDEX_H
#define VQA_TEXT_INDEX_H

#include <stddef.h>
#include <stdint.h>

enum { INDEX_MAX = 1 << 30, INDEX_NONE = -1, INDEX_FULL = -2 };

struct ids {
	int64_t *id;     /* (count) */
	uint32_t *slots; /* number + 1, 0 when empty */
	uint32_t count, size, mask;
	uint64_t secret;
};

/* The number of an id; INDEX_NONE if it is not there. */
int64_t ids_find(const struct ids *ids, int64_t id);
/* The number of the id that was there already; INDEX_NONE when it was added as the last; INDEX_FULL: no memory. */
int64_t ids_add(struct ids *ids, int64_t id);
void ids_free(struct ids *ids);

struct names {
	char *bytes; /* one after the other, each with a NUL */
	size_t used, room;
	size_t *at; /* (count): where in bytes */
	uint32_t *slots;
	uint32_t count, size, mask;
	uint64_t secret;
};

/* The number of a name, which is added if it is new; INDEX_FULL: no memory. */
int64_t names_add(struct names *names, const char *name);
/* The number of a name; INDEX_NONE if it is not there. */
int64_t names_find(const struct names *names, const char *name);
const char *names_get(const struct names *names, uint32_t number);
void names_free(struct names *names);

#endif
