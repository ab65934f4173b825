/*
 * Safetensors images: laying out and writing our own.
 */
#include "ckpt/image.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sys/file.h"

enum { ALIGN = 64 };

void
image_begin(struct image *image)
{
	*image = (struct image){ 0 };
}

int
image_add(struct image *image, const char *name, enum dtype dtype, int dims, const int64_t *shape, struct err *err)
{
	struct tensor *more, *t;

	if (!(image->n & (image->n - 1))) { /* room doubles at every power of two */
		more = realloc(image->tensors, (image->n ? 2 * image->n : 1) * sizeof *more);
		if (!more)
			return err_set(err, "out of memory for %zu tensors", image->n);
		image->tensors = more;
	}
	t = &image->tensors[image->n];
	*t = (struct tensor){ .dtype = dtype, .dims = dims, .bytes = dtype_size(dtype) };
	if (strlen(name) >= sizeof t->name)
		return err_set(err, "tensor '%.40s…': its name is too long", name);
	memcpy(t->name, name, strlen(name) + 1);
	for (int i = 0; i < dims; i++) {
		t->shape[i] = shape[i];
		t->bytes *= (size_t)shape[i];
	}
	image->n++;
	return 0;
}

int
image_add_meta(struct image *image, const char *key, const char *value, struct err *err)
{
	struct image_meta *more = realloc(image->meta, (image->meta_n + 1) * sizeof *more);

	if (!more)
		return err_set(err, "out of memory for the metadata");
	image->meta = more;
	more[image->meta_n] = (struct image_meta){ strdup(key), strdup(value) };
	if (!more[image->meta_n].key || !more[image->meta_n].value) {
		free(more[image->meta_n].key);
		free(more[image->meta_n].value);
		return err_set(err, "out of memory for the metadata");
	}
	image->meta_n++;
	return 0;
}

/* One tensor's entry; its data begin at `at`. NULL without memory. */
static json_t *
entry(const struct tensor *t, size_t at)
{
	json_t *shape = json_array();

	for (int k = 0; k < t->dims; k++)
		json_array_append_new(shape, json_integer(t->shape[k]));
	return json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype_name(t->dtype), "shape", shape, "data_offsets",
	                 (json_int_t)at, (json_int_t)(at + t->bytes));
}

/* The header's JSON; offsets count from the data's beginning, in the order of adding. NULL: no memory, or not UTF-8. */
static char *
header_text(const struct image *image)
{
	json_t *header = json_object(), *meta = json_object();
	size_t at = 0;
	char *text;
	int bad = 0;

	for (size_t i = 0; i < image->meta_n; i++)
		bad |= json_object_set_new(meta, image->meta[i].key, json_string(image->meta[i].value));
	if (image->meta_n)
		bad |= json_object_set(header, "__metadata__", meta);
	json_decref(meta);
	for (size_t i = 0; i < image->n; i++) {
		bad |= json_object_set_new(header, image->tensors[i].name, entry(&image->tensors[i], at));
		at += image->tensors[i].bytes;
	}
	text = bad ? NULL : json_dumps(header, JSON_COMPACT);
	json_decref(header);
	return text;
}

/* The largest power of two, ALIGN at most, that divides a tensor's bytes. */
static size_t
alignment(const struct tensor *t)
{
	const size_t bits = t->bytes | ALIGN;

	return bits & -bits;
}

static int
by_alignment(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;
	const size_t p = alignment(x), q = alignment(y);

	return p != q ? (p < q) - (p > q) : strcmp(x->name, y->name);
}

void
image_align(struct image *image)
{
	if (image->n)
		qsort(image->tensors, image->n, sizeof *image->tensors, by_alignment);
}

int
image_layout(struct image *image, uint8_t **header, size_t *header_bytes, struct err *err)
{
	char *text = header_text(image);
	size_t length = text ? strlen(text) : 0, padded = (8 + length + ALIGN - 1) / ALIGN * ALIGN;

	*header = NULL;
	if (padded - 8 > IMAGE_HEADER_MOST) {
		free(text);
		return err_set(err, "a safetensors header of %zu bytes, expected at most %d", padded - 8,
		               IMAGE_HEADER_MOST);
	}
	*header = text ? malloc(padded) : NULL;
	if (!*header) {
		free(text);
		return err_set(err, "out of memory for a safetensors header, or a name that is not UTF-8");
	}
	memset(*header, ' ', padded);
	for (int i = 0; i < 8; i++)
		(*header)[i] = (uint8_t)((uint64_t)(padded - 8) >> (8 * i));
	memcpy(*header + 8, text, length);
	free(text);
	*header_bytes = padded;
	image->size = padded;
	for (size_t i = 0; i < image->n; i++) {
		image->tensors[i].offset = image->size;
		image->size += image->tensors[i].bytes;
	}
	return 0;
}

int
image_write_from(struct image *image, image_source *source, void *user, const char *path, struct err *err)
{
	struct new_file file;
	uint8_t *header;
	size_t header_bytes;
	int bad;

	if (image_layout(image, &header, &header_bytes, err))
		return err_prefix(err, "%s", path);
	bad = new_file_open(&file, path, err);
	if (!bad) {
		bad = new_file_write(&file, header, header_bytes, err);
		for (size_t i = 0; !bad && i < image->n; i++)
			bad = new_file_write(&file, source(user, i), image->tensors[i].bytes, err);
		bad = bad ? new_file_discard(&file) : new_file_commit(&file, err);
	}
	free(header);
	return bad ? -1 : 0;
}

static const void *
from_array(void *user, size_t i)
{
	const void *const *data = user;

	return data[i];
}

int
image_write(struct image *image, const void *const *data, const char *path, struct err *err)
{
	return image_write_from(image, from_array, (void *)(uintptr_t)data, path, err);
}
