/*
 * torch's files: the two containers, and the way from their pickle to tensors.
 */
#include "ckpt/pth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/storage.h"
#include "sys/little.h"
#include "sys/utf8.h"
#include "sys/zip.h"

enum { KEY_MOST = 64, PROTOCOL = 1001, COPY_ALIGN = 8, COPIES_MOST = 4 };
static const uint8_t magic[10] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };

/* A tensor that is not row by row: elements of `size` bytes, which are `stride` of them apart. */
struct pth_view {
	size_t from, to, size;
	int dims;
	int64_t shape[TENSOR_DIMS], stride[TENSOR_DIMS];
};

/* What the tensors of a file are read from. */
struct source {
	const struct pickle *pickle;
	const struct storages *storages;
	size_t size, behind;
};

int
pth_is(const uint8_t *bytes, size_t size)
{
	/* A safetensors file has its header's length there, and then its first brace. */
	if (size < 9 || bytes[8] == '{')
		return 0;
	return !memcmp(bytes, "PK\3\4", 4) || (bytes[0] == 0x80 && (bytes[2] == 0x8a || bytes[2] == 0x95));
}

/* --- From the pickle to tensors. */

static const struct value *
find_state(const struct pickle *pickle, struct err *err)
{
	static const char *const under[] = { "state_dict", "model_state_dict", "model" };
	const struct value *root = pickle->root;
	char found[256];

	for (size_t i = 0; root->kind == KIND_DICT && i < sizeof under / sizeof *under; i++) {
		const struct value *inner = pickle_find(pickle, root, under[i]);

		if (inner && inner->kind == KIND_DICT)
			return inner;
	}
	for (uint32_t i = 0, cell = root->items.first; root->kind == KIND_DICT && i < root->n; i++) {
		if (i % 2 && pickle->values[pickle->cells[cell].value].kind == KIND_CALL)
			return root;
		cell = pickle->cells[cell].next;
	}
	err_set(err,
	        "no state dict: found %s, expected a dict of tensors, or one under 'state_dict', 'model_state_dict' "
	        "or 'model'",
	        pickle_describe(pickle, root, found));
	return NULL;
}

/* Sizes or strides: a tuple of integers from 0 on. */
static int
read_sizes(int64_t out[TENSOR_DIMS], int *n, const char *what, const struct pickle *pickle, const struct value *tuple,
           struct err *err)
{
	if (tuple->kind != KIND_TUPLE || tuple->n > TENSOR_DIMS)
		return err_set(err, "its %s is no tuple of at most %d integers", what, TENSOR_DIMS);
	*n = (int)tuple->n;
	for (uint32_t i = 0; i < tuple->n; i++) {
		const struct value *item = pickle_item(pickle, tuple, i);

		if (item->kind != KIND_INT)
			return err_set(err, "number %u of its %s is no integer", i, what);
		if (item->integer < 0)
			return err_set(err, "number %u of its %s is %lld, expected at least 0", i, what,
			               (long long)item->integer);
		out[i] = item->integer;
	}
	return 0;
}

/* How many elements there are, and how many of the storage are from its first to its last. A size of 0 hides no large one. */
static int
measure(int64_t *n, int64_t *reach, const struct pth_view *view, struct err *err)
{
	int64_t step;
	int empty = 0;

	*n = 1;
	*reach = 1;
	for (int i = 0; i < view->dims; i++) {
		int64_t size = view->shape[i] ? view->shape[i] : 1;

		if (__builtin_mul_overflow(*n, size, n) || __builtin_mul_overflow(size - 1, view->stride[i], &step) ||
		    __builtin_add_overflow(*reach, step, reach))
			return err_set(err, "its shape and strides need more than 2^63 elements");
		empty |= !view->shape[i];
	}
	if (empty)
		*n = 0;
	return 0;
}

/* Row by row; the stride of a size of 1 does not matter. */
static int
is_plain(const struct pth_view *view)
{
	int64_t step = 1;

	for (int i = view->dims - 1; i >= 0; i--) {
		if (view->shape[i] != 1 && view->stride[i] != step)
			return 0;
		step *= view->shape[i];
	}
	return 1;
}

/* Its bytes go behind the file, and behind the copies before it. */
static int
copy_later(struct pth *pth, struct tensor *t, struct pth_view *view, const struct source *source, struct err *err)
{
	size_t most = COPIES_MOST * source->size;

	view->to = (pth->size + COPY_ALIGN - 1) / COPY_ALIGN * COPY_ALIGN;
	if (t->bytes > most || view->to - source->behind > most - t->bytes)
		return err_set(err, "tensors that are not row by row have more than %d times the %zu bytes of the file",
		               COPIES_MOST, source->size);
	t->offset = view->to;
	pth->size = view->to + t->bytes;
	pth->views[pth->views_n++] = *view;
	return 0;
}

/* Where the elements are, of a tensor whose shape and strides are read. */
static int
place(struct tensor *t, struct pth_view *view, const struct storage *storage, int64_t offset, struct err *err)
{
	int64_t n, reach;
	char name[80];

	if (measure(&n, &reach, view, err))
		return -1;
	view->size = dtype_size(storage->dtype);
	if (!n) { /* torch writes any offset then */
		t->offset = storage->at;
		return 0;
	}
	if (offset < 0 || offset > storage->count || reach > storage->count - offset)
		return err_set(err, "its shape and strides need %lld elements from %lld on, but %s has %lld",
		               (long long)reach, (long long)offset, storage_name(storage, name),
		               (long long)storage->count);
	if (n > storage->count)
		return err_set(err, "it repeats elements: %lld of %lld in %s", (long long)n, (long long)storage->count,
		               storage_name(storage, name));
	view->from = t->offset = storage->at + (size_t)offset * view->size;
	t->bytes = (size_t)n * view->size;
	return 0;
}

/* torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), perhaps in a _rebuild_parameter. */
static const struct value *
tensor_args(const struct pickle *pickle, const struct value *value, struct err *err)
{
	char found[256];

	for (int depth = 0; value->kind == KIND_CALL && depth < 2; depth++) {
		const struct value *args = pickle_item(pickle, value, 1);

		if (pickle_item(pickle, value, 0)->integer == GLOBAL_TENSOR) {
			if (args->n >= 4 && pickle_item(pickle, args, 0)->kind == KIND_STORAGE)
				return args;
			break;
		}
		if (!args->n)
			break;
		value = pickle_item(pickle, args, 0);
	}
	if (value->kind == KIND_CALL)
		err_set(err, "a tensor without a storage, an offset, a size and a stride");
	else
		err_set(err, "found %s, expected a tensor", pickle_describe(pickle, value, found));
	return NULL;
}

static int
read_tensor(struct pth *pth, struct tensor *t, const struct source *source, const struct value *value, struct err *err)
{
	const struct value *args = tensor_args(source->pickle, value, err), *offset;
	struct pth_view view = { 0 };
	const struct storage *storage;
	int strides;

	if (!args)
		return -1;
	storage = storages_of(source->storages, source->pickle, pickle_item(source->pickle, args, 0));
	offset = pickle_item(source->pickle, args, 1);
	if (offset->kind != KIND_INT)
		return err_set(err, "its offset is no integer");
	if (read_sizes(view.shape, &view.dims, "shape", source->pickle, pickle_item(source->pickle, args, 2), err) ||
	    read_sizes(view.stride, &strides, "strides", source->pickle, pickle_item(source->pickle, args, 3), err))
		return -1;
	if (strides != view.dims)
		return err_set(err, "%d strides, expected %d as its shape has", strides, view.dims);
	t->dtype = storage->dtype;
	t->dims = view.dims;
	memcpy(t->shape, view.shape, sizeof t->shape);
	if (place(t, &view, storage, offset->integer, err))
		return -1;
	return t->bytes && !is_plain(&view) ? copy_later(pth, t, &view, source, err) : 0;
}

static int
read_name(struct tensor *t, const struct value *key, struct err *err)
{
	char name[64];

	if (key->kind != KIND_TEXT || !utf8_text(key->text, key->n))
		return err_set(err, "a key of the state dict is no text");
	if (key->n >= sizeof t->name)
		return err_set(err, "tensor '%s': its name has %u bytes, expected fewer than %zu",
		               utf8_quote(name, sizeof name, key->text, key->n), key->n, sizeof t->name);
	memcpy(t->name, key->text, key->n);
	return 0;
}

static int
read_state(struct pth *pth, const struct source *source, const struct value *state, struct err *err)
{
	const struct pickle *pickle = source->pickle;
	size_t n = state->n / 2;

	if (n > TENSORS_MOST)
		return err_set(err, "%zu tensors, expected at most %d", n, TENSORS_MOST);
	pth->image.tensors = calloc(n + 1, sizeof *pth->image.tensors);
	pth->views = calloc(n + 1, sizeof *pth->views);
	if (!pth->image.tensors || !pth->views)
		return err_set(err, "out of memory for %zu tensors", n);
	for (uint32_t cell = state->items.first; pth->image.n < n; pth->image.n++) {
		struct tensor *t = &pth->image.tensors[pth->image.n];
		uint32_t next = pickle->cells[cell].next;

		if (read_name(t, &pickle->values[pickle->cells[cell].value], err))
			return -1;
		if (read_tensor(pth, t, source, &pickle->values[pickle->cells[next].value], err))
			return err_prefix(err, "tensor '%s'", t->name);
		cell = pickle->cells[next].next;
	}
	return image_sort(&pth->image, err);
}

/* --- The containers. */

/* NAME/what */
static const struct zip_entry *
find_entry(const struct zip *zip, const char *what, size_t what_n)
{
	char name[1024 + KEY_MOST];

	if (zip->folder_n + 1 + what_n > sizeof name)
		return NULL;
	memcpy(name, zip->folder, zip->folder_n);
	name[zip->folder_n] = '/';
	memcpy(name + zip->folder_n + 1, what, what_n);
	return zip_find(zip, name, zip->folder_n + 1 + what_n);
}

static int
check_byteorder(const struct zip *zip, const uint8_t *bytes, struct err *err)
{
	const struct zip_entry *entry = find_entry(zip, "byteorder", strlen("byteorder"));
	char found[32];

	if (!entry || text_is((const char *)bytes + entry->at, entry->n, "little"))
		return 0;
	return err_set(err, "byteorder is '%s', expected 'little'",
	               utf8_quote(found, sizeof found, (const char *)bytes + entry->at, entry->n));
}

/* data/KEY, of exactly the bytes that the pickle says */
static int
place_entry(struct storage *storage, const struct zip *zip, struct err *err)
{
	char what[KEY_MOST], name[80];
	const struct zip_entry *entry = NULL;

	if (storage->key_n < sizeof what - 5) {
		memcpy(what, "data/", 5);
		memcpy(what + 5, storage->key, storage->key_n);
		entry = find_entry(zip, what, 5 + storage->key_n);
	}
	if (!entry)
		return err_set(err, "%s has no entry in the archive", storage_name(storage, name));
	if (zip_check_stored(entry, err) || storage_place(storage, entry->at, entry->n, err))
		return -1;
	if (storage->bytes != entry->n)
		return err_set(err, "%s: %lld elements of %s, but its entry has %zu bytes", storage_name(storage, name),
		               (long long)storage->count, dtype_name(storage->dtype), entry->n);
	return 0;
}

static int
read_zip(struct pickle *pickle, struct storages *storages, const uint8_t *bytes, size_t size, struct err *err)
{
	const struct zip_entry *entry;
	struct zip zip;
	size_t at = 0;
	int bad;

	if (zip_open(&zip, bytes, size, err))
		return -1;
	entry = find_entry(&zip, "data.pkl", strlen("data.pkl"));
	if (!entry)
		bad = err_set(err, "a zip archive without data.pkl, expected one that torch.save wrote");
	else
		bad = zip_check_stored(entry, err) || check_byteorder(&zip, bytes, err);
	if (!bad && pickle_read(pickle, bytes + entry->at, entry->n, &at, err))
		bad = err_prefix(err, "data.pkl");
	bad = bad || storages_make(storages, pickle, err);
	for (size_t i = 0; !bad && i < storages->n; i++)
		bad = place_entry(&storages->list[i], &zip, err);
	zip_close(&zip);
	return bad;
}

/* Whether the pickle at *at is what is expected there, by its value. */
static int
expect(size_t *at, const uint8_t *bytes, size_t size, int (*right)(const struct pickle *), const char *what,
       struct err *err)
{
	size_t begin = *at;
	struct pickle pickle;
	int bad;

	if (pickle_read(&pickle, bytes, size, at, err))
		return -1;
	bad = right(&pickle) ? 0 : err_set(err, "byte %zu: %s", begin, what);
	pickle_release(&pickle);
	return bad;
}

static int
is_magic(const struct pickle *pickle)
{
	return pickle->root->kind == KIND_LONG && pickle->root->n == sizeof magic &&
	       !memcmp(pickle->root->text, magic, sizeof magic);
}

static int
is_protocol(const struct pickle *pickle)
{
	return pickle->root->kind == KIND_INT && pickle->root->integer == PROTOCOL;
}

static int
is_little(const struct pickle *pickle)
{
	const struct value *little_endian =
		pickle->root->kind == KIND_DICT ? pickle_find(pickle, pickle->root, "little_endian") : NULL;

	return little_endian && little_endian->kind == KIND_BOOL && little_endian->integer;
}

/* The storages behind the pickles, in the order of the keys, up to the file's end. */
static int
place_all(struct storages *storages, const struct pickle *keys, const uint8_t *bytes, size_t size, size_t at,
          struct err *err)
{
	const struct value *list = keys->root;
	char name[80];

	if (list->kind != KIND_LIST || list->n != storages->n)
		return err_set(err, "%u keys of storages in a list, expected %zu",
		               list->kind == KIND_LIST ? list->n : 0, storages->n);
	for (uint32_t i = 0, cell = list->items.first; i < list->n; i++, cell = keys->cells[cell].next) {
		const struct value *key = &keys->values[keys->cells[cell].value];
		struct storage *storage = key->kind == KIND_TEXT ? storages_find(storages, key->text, key->n) : NULL;

		if (!storage)
			return err_set(err, "key %u of the list belongs to no storage", i);
		if (size - at < 8)
			return err_set(err, "%s begins at byte %zu, but the file has only %zu",
			               storage_name(storage, name), at, size);
		if (little(bytes + at, 8) != (uint64_t)storage->count)
			return err_set(err, "byte %zu: %s has %llu elements, but its tensors say %lld", at,
			               storage_name(storage, name), (unsigned long long)little(bytes + at, 8),
			               (long long)storage->count);
		if (storage_place(storage, at + 8, size - at - 8, err))
			return -1;
		at = storage->at + storage->bytes;
	}
	return at == size ? 0 : err_set(err, "%zu bytes at the end belong to no storage", size - at);
}

static int
read_legacy(struct pickle *pickle, struct storages *storages, const uint8_t *bytes, size_t size, struct err *err)
{
	struct pickle keys = { 0 };
	size_t at = 0;
	int bad;

	bad = expect(&at, bytes, size, is_magic, "a pickle without torch's magic number", err) ||
	      expect(&at, bytes, size, is_protocol, "not torch's protocol 1001", err) ||
	      expect(&at, bytes, size, is_little, "not from a little-endian machine", err) ||
	      pickle_read(pickle, bytes, size, &at, err) || storages_make(storages, pickle, err) ||
	      pickle_read(&keys, bytes, size, &at, err) || place_all(storages, &keys, bytes, size, at, err);
	pickle_release(&keys);
	return bad;
}

int
pth_parse(struct pth *pth, const uint8_t *bytes, size_t size, size_t behind, struct err *err)
{
	struct pickle pickle = { 0 };
	struct storages storages = { 0 };
	const struct source source = { &pickle, &storages, size, behind };
	const struct value *state;
	int bad;

	*pth = (struct pth){ .size = behind };
	bad = bytes[0] == 'P' ? read_zip(&pickle, &storages, bytes, size, err)
	                      : read_legacy(&pickle, &storages, bytes, size, err);
	if (!bad) {
		state = find_state(&pickle, err);
		bad = !state || read_state(pth, &source, state, err);
	}
	storages_release(&storages);
	pickle_release(&pickle);
	if (bad)
		pth_release(pth);
	return bad ? -1 : 0;
}

void
pth_copy(const struct pth *pth, uint8_t *base)
{
	for (size_t i = 0; i < pth->views_n; i++) {
		const struct pth_view *view = &pth->views[i];
		int64_t index[TENSOR_DIMS] = { 0 };
		uint8_t *to = base + view->to;
		int dim = 0;

		while (dim >= 0) {
			size_t from = view->from;

			for (int k = 0; k < view->dims; k++)
				from += (size_t)(index[k] * view->stride[k]) * view->size;
			memcpy(to, base + from, view->size);
			to += view->size;
			for (dim = view->dims - 1; dim >= 0 && ++index[dim] == view->shape[dim]; dim--)
				index[dim] = 0;
		}
	}
}

void
pth_release(struct pth *pth)
{
	image_close(&pth->image);
	free(pth->views);
	*pth = (struct pth){ 0 };
}
