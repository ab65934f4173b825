/*
 * The storages of a torch file: what its pickle says of them, and where they are.
 */
#ifndef VQA_CKPT_STORAGE_H
#define VQA_CKPT_STORAGE_H

#include "ckpt/pickle.h"

struct storage {
	const char *key; /* (key_n), in the pickle's bytes */
	size_t key_n;
	enum dtype dtype;
	int64_t count;    /* elements */
	size_t at, bytes; /* in the file, once it is placed */
	int placed;
};

struct storages {
	struct storage *list; /* in order of key */
	size_t n;
};

/* All that a pickle names; a key that is named with different types or sizes is an error. */
int storages_make(struct storages *storages, const struct pickle *pickle, struct err *err);
void storages_release(struct storages *storages);
/* NULL if there is none. */
struct storage *storages_find(const struct storages *storages, const char *key, size_t key_n);
/* The one that a persistent id names, which storages_make has seen. */
const struct storage *storages_of(const struct storages *storages, const struct pickle *pickle, const struct value *id);
/* "storage 'KEY'", for messages. */
const char *storage_name(const struct storage *storage, char out[80]);
/* Its data begin at `at`, and the file (or the entry) has `left` bytes for it. */
int storage_place(struct storage *storage, size_t at, size_t left, struct err *err);

#endif
