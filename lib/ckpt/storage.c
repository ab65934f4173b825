/*
 * Storages by their keys.
 */
#include "ckpt/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/utf8.h"

const char *
storage_name(const struct storage *storage, char out[80])
{
	char key[64];

	snprintf(out, 80, "storage '%s'", utf8_quote(key, sizeof key, storage->key, storage->key_n));
	return out;
}

/* ('storage', torch.FloatStorage, key, location, elements), and in the old format None: a view was something else once. */
static int
parse(struct storage *storage, const struct pickle *pickle, const struct value *id, struct err *err)
{
	const struct value *items[6];
	char name[80], found[256];

	if (id->kind != KIND_TUPLE || id->n < 5 || id->n > 6)
		return err_set(err, "a persistent id is %s, expected a tuple of 5 for a storage",
		               pickle_describe(pickle, id, found));
	for (uint32_t i = 0; i < id->n; i++)
		items[i] = pickle_item(pickle, id, i);
	if (!value_is_text(items[0], "storage") || items[1]->kind != KIND_GLOBAL ||
	    items[1]->integer < GLOBAL_STORAGE || items[2]->kind != KIND_TEXT || items[3]->kind != KIND_TEXT)
		return err_set(err, "a persistent id is not ('storage', its class, key, location, …)");
	*storage = (struct storage){ .key = items[2]->text,
		                     .key_n = items[2]->n,
		                     .dtype = (enum dtype)(items[1]->integer - GLOBAL_STORAGE) };
	if (items[4]->kind != KIND_INT || items[4]->integer < 0)
		return err_set(err, "%s: its number of elements is negative or no integer",
		               storage_name(storage, name));
	storage->count = items[4]->integer;
	if (id->n == 6 && items[5]->kind != KIND_NONE)
		return err_set(err, "%s is a view of another one, as torch 0.3 and before wrote them",
		               storage_name(storage, name));
	return 0;
}

static int
by_key(const void *a, const void *b)
{
	const struct storage *x = a, *y = b;
	int order = memcmp(x->key, y->key, x->key_n < y->key_n ? x->key_n : y->key_n);

	return order ? order : (x->key_n > y->key_n) - (x->key_n < y->key_n);
}

/* A storage is named once for each tensor that is in it. */
static int
unite(struct storages *storages, struct err *err)
{
	size_t n = 0;
	char name[80];

	qsort(storages->list, storages->n, sizeof *storages->list, by_key);
	for (size_t i = 0; i < storages->n; i++) {
		const struct storage *this = &storages->list[i], *last = &storages->list[n ? n - 1 : 0];

		if (!n || by_key(last, this) != 0)
			storages->list[n++] = *this;
		else if (last->dtype != this->dtype || last->count != this->count)
			return err_set(err, "%s is both %lld %s and %lld %s", storage_name(this, name),
			               (long long)last->count, dtype_name(last->dtype), (long long)this->count,
			               dtype_name(this->dtype));
	}
	storages->n = n;
	return 0;
}

int
storages_make(struct storages *storages, const struct pickle *pickle, struct err *err)
{
	size_t n = 0;
	int bad = 0;

	for (size_t i = 0; i < pickle->values_n; i++)
		n += pickle->values[i].kind == KIND_STORAGE;
	*storages = (struct storages){ .list = calloc(n + 1, sizeof *storages->list) };
	if (!storages->list)
		return err_set(err, "out of memory for %zu storages", n);
	for (size_t i = 0; !bad && i < pickle->values_n; i++)
		if (pickle->values[i].kind == KIND_STORAGE)
			bad = parse(&storages->list[storages->n++], pickle, pickle_item(pickle, &pickle->values[i], 0),
			            err);
	if (bad || unite(storages, err)) {
		storages_release(storages);
		return -1;
	}
	return 0;
}

void
storages_release(struct storages *storages)
{
	free(storages->list);
	*storages = (struct storages){ 0 };
}

struct storage *
storages_find(const struct storages *storages, const char *key, size_t key_n)
{
	const struct storage wanted = { .key = key, .key_n = key_n };

	return bsearch(&wanted, storages->list, storages->n, sizeof *storages->list, by_key);
}

const struct storage *
storages_of(const struct storages *storages, const struct pickle *pickle, const struct value *id)
{
	const struct value *key = pickle_item(pickle, pickle_item(pickle, id, 0), 2);

	return storages_find(storages, key->text, key->n);
}

int
storage_place(struct storage *storage, size_t at, size_t left, struct err *err)
{
	char name[80];

	if (storage->placed)
		return err_set(err, "%s is there twice", storage_name(storage, name));
	if ((uint64_t)storage->count > left / dtype_size(storage->dtype))
		return err_set(err, "%s: %lld elements of %s, but only %zu bytes are left for them",
		               storage_name(storage, name), (long long)storage->count, dtype_name(storage->dtype),
		               left);
	storage->at = at;
	storage->bytes = (size_t)storage->count * dtype_size(storage->dtype);
	storage->placed = 1;
	return 0;
}
