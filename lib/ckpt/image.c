/*
 * Safetensors images: reading what strangers wrote.
 */
#include "ckpt/image.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sys/file.h"
#include "sys/half.h"
#include "sys/little.h"

#define BYTES_MOST (INT64_C(1) << 62)

static const struct {
	const char *name;
	size_t size;
} dtypes[] = {
	[DTYPE_F64] = { "F64", 8 },   [DTYPE_F32] = { "F32", 4 }, [DTYPE_F16] = { "F16", 2 },
	[DTYPE_BF16] = { "BF16", 2 }, [DTYPE_I64] = { "I64", 8 }, [DTYPE_I32] = { "I32", 4 },
	[DTYPE_I16] = { "I16", 2 },   [DTYPE_I8] = { "I8", 1 },   [DTYPE_U8] = { "U8", 1 },
	[DTYPE_BOOL] = { "BOOL", 1 },
};

size_t
dtype_size(enum dtype dtype)
{
	return dtypes[dtype].size;
}

const char *
dtype_name(enum dtype dtype)
{
	return dtypes[dtype].name;
}

int
dtype_to_f32(float *out, const void *in, size_t n, enum dtype dtype, struct err *err)
{
	const uint8_t *from = in;

	for (size_t i = 0; i < n; i++) {
		uint16_t half;
		double wide;

		switch (dtype) {
		case DTYPE_F32:
			memcpy(&out[i], from + 4 * i, sizeof *out);
			break;
		case DTYPE_F64:
			memcpy(&wide, from + 8 * i, sizeof wide);
			out[i] = (float)wide;
			break;
		case DTYPE_F16:
			memcpy(&half, from + 2 * i, sizeof half);
			out[i] = half_to_float(half);
			break;
		case DTYPE_BF16:
			memcpy(&half, from + 2 * i, sizeof half);
			out[i] = bfloat_to_float(half);
			break;
		default:
			return err_set(err, "its type is %s, expected F32, F16, BF16 or F64", dtype_name(dtype));
		}
	}
	return 0;
}

static int
find_dtype(const char *name)
{
	for (size_t i = 0; name && i < sizeof dtypes / sizeof *dtypes; i++)
		if (!strcmp(name, dtypes[i].name))
			return (int)i;
	return -1;
}

/* bytes: of all elements; checked against overflow, so that messages can print it. */
static int
parse_shape(struct tensor *t, const json_t *shape, struct err *err)
{
	if (!json_is_array(shape) || json_array_size(shape) > TENSOR_DIMS)
		return err_set(err, "tensor '%s': its shape is no array of at most %d sizes", t->name, TENSOR_DIMS);
	t->dims = (int)json_array_size(shape);
	t->bytes = dtype_size(t->dtype);
	for (int i = 0; i < t->dims; i++) {
		const json_t *size = json_array_get(shape, (size_t)i);

		t->shape[i] = json_is_integer(size) ? json_integer_value(size) : -1;
		if (t->shape[i] < 0)
			return err_set(err, "tensor '%s': size %d of its shape is negative or no integer", t->name, i);
		if (__builtin_mul_overflow(t->bytes, (size_t)t->shape[i], &t->bytes) || t->bytes > BYTES_MOST)
			return err_set(err, "tensor '%s': its shape needs more than %lld bytes", t->name,
			               (long long)BYTES_MOST);
	}
	return 0;
}

/* One entry of the header; offsets become those of the image. */
static int
parse_tensor(struct image *image, struct tensor *t, const char *name, const json_t *json, size_t data, struct err *err)
{
	const json_t *offsets = json_object_get(json, "data_offsets");
	const char *dtype_text = json_string_value(json_object_get(json, "dtype"));
	int dtype = find_dtype(dtype_text);
	int64_t begin, end;

	if (strlen(name) >= sizeof t->name)
		return err_set(err, "tensor '%.40s…': its name has %zu bytes, expected fewer than %zu", name,
		               strlen(name), sizeof t->name);
	memcpy(t->name, name, strlen(name) + 1);
	if (!dtype_text)
		return err_set(err, "tensor '%s': 'dtype' is missing or no string", name);
	if (dtype < 0)
		return err_set(err, "tensor '%s': dtype '%.20s' is not known", name, dtype_text);
	t->dtype = (enum dtype)dtype;
	if (parse_shape(t, json_object_get(json, "shape"), err))
		return -1;
	if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !json_is_integer(json_array_get(offsets, 0)) ||
	    !json_is_integer(json_array_get(offsets, 1)))
		return err_set(err, "tensor '%s': data_offsets are no two integers", name);
	begin = json_integer_value(json_array_get(offsets, 0));
	end = json_integer_value(json_array_get(offsets, 1));
	if (begin < 0 || end < begin)
		return err_set(err, "tensor '%s': data_offsets are [%lld, %lld], expected 0 <= begin <= end", name,
		               (long long)begin, (long long)end);
	if ((uint64_t)end > image->size - data)
		return err_set(err, "tensor '%s' ends past the file (at %lld of %zu bytes of data)", name,
		               (long long)end, image->size - data);
	if ((uint64_t)(end - begin) != t->bytes)
		return err_set(err, "tensor '%s' has %lld bytes, but its shape needs %zu", name,
		               (long long)(end - begin), t->bytes);
	t->offset = data + (size_t)begin;
	return 0;
}

static int
by_offset(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The whole data belongs to tensors, each byte to one. */
static int
check_order(const struct image *image, size_t data, struct err *err)
{
	size_t at = data;

	for (size_t i = 0; i < image->n; i++) {
		const struct tensor *t = &image->tensors[i];

		if (t->offset < at)
			return err_set(err, "tensor '%s' overlaps the one before it, '%s'", t->name,
			               image->tensors[i - 1].name);
		if (t->offset > at)
			return err_set(err, "%zu bytes before tensor '%s' belong to no tensor", t->offset - at,
			               t->name);
		at += t->bytes;
	}
	if (at != image->size)
		return err_set(err, "%zu bytes at the end belong to no tensor", image->size - at);
	return 0;
}

static int
parse_meta(struct image *image, const json_t *meta, struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(meta))
		return err_set(err, "__metadata__ is no JSON object");
	json_object_foreach((json_t *)(uintptr_t)meta, key, value)
	{
		if (!json_is_string(value))
			return err_set(err, "__metadata__: '%.100s' is no string", key);
		if (image_add_meta(image, key, json_string_value(value), err))
			return -1;
	}
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(struct tensor *const *)a)->name, (*(struct tensor *const *)b)->name);
}

int
image_sort(struct image *image, struct err *err)
{
	qsort(image->tensors, image->n, sizeof *image->tensors, by_offset);
	image->names = malloc((image->n + 1) * sizeof *image->names);
	if (!image->names)
		return err_set(err, "out of memory for %zu tensors", image->n);
	for (size_t i = 0; i < image->n; i++)
		image->names[i] = &image->tensors[i];
	qsort(image->names, image->n, sizeof *image->names, by_name);
	for (size_t i = 1; i < image->n; i++)
		if (!strcmp(image->names[i - 1]->name, image->names[i]->name))
			return err_set(err, "tensor '%s' is there twice", image->names[i]->name);
	return 0;
}

static int
parse_header(struct image *image, const json_t *header, size_t data, struct err *err)
{
	const char *name;
	json_t *value;

	if (json_object_size(header) > TENSORS_MOST)
		return err_set(err, "%zu tensors, expected at most %d", json_object_size(header), TENSORS_MOST);
	image->tensors = calloc(json_object_size(header) + 1, sizeof *image->tensors);
	if (!image->tensors)
		return err_set(err, "out of memory for %zu tensors", json_object_size(header));
	json_object_foreach((json_t *)(uintptr_t)header, name, value)
	{
		if (!strcmp(name, "__metadata__")) {
			if (parse_meta(image, value, err))
				return -1;
			continue;
		}
		if (parse_tensor(image, &image->tensors[image->n], name, value, data, err))
			return -1;
		image->n++;
	}
	return image_sort(image, err) || check_order(image, data, err) ? -1 : 0;
}

int
image_parse(struct image *image, void *base, size_t size, const char *name, struct err *err)
{
	uint64_t length;
	json_error_t at;
	json_t *header;
	int bad;

	*image = (struct image){ .base = base, .size = size };
	if (size < 8)
		return err_set(err, "%s: %zu bytes, expected a safetensors header of at least 8", name, size);
	length = little(image->base, 8);
	if (length > IMAGE_HEADER_MOST)
		return err_set(err,
		               "%s: its header would have %llu bytes, expected at most %d: not a safetensors file?",
		               name, (unsigned long long)length, IMAGE_HEADER_MOST);
	if (length > size - 8)
		return err_set(err, "%s: its header of %llu bytes ends past the file of %zu", name,
		               (unsigned long long)length, size);
	header = json_loadb((char *)image->base + 8, (size_t)length, JSON_REJECT_DUPLICATES, &at);
	if (!header)
		return err_set(err, "%s: safetensors header, byte %d: %s", name, at.position, at.text);
	bad = json_is_object(header) ? parse_header(image, header, 8 + (size_t)length, err)
	                             : err_set(err, "the header is no JSON object");
	json_decref(header);
	if (bad) {
		image_close(image);
		return err_prefix(err, "%s", name);
	}
	return 0;
}

int
image_open(struct image *image, const char *path, struct err *err)
{
	uint8_t *base;
	size_t size;

	*image = (struct image){ 0 };
	if (file_map(&base, &size, path, err))
		return -1;
	if (image_parse(image, base, size, path, err)) {
		file_unmap(base, size);
		return -1;
	}
	image->mapped = 1;
	return 0;
}

void
image_forget(const struct image *image, const void *data, size_t bytes)
{
	if (image->mapped)
		file_forget(data, bytes);
}

void
image_close(struct image *image)
{
	if (image->mapped)
		file_unmap(image->base, image->size);
	for (size_t i = 0; i < image->meta_n; i++) {
		free(image->meta[i].key);
		free(image->meta[i].value);
	}
	free(image->meta);
	free(image->names);
	free(image->tensors);
	*image = (struct image){ 0 };
}

const struct tensor *
image_find(const struct image *image, const char *name)
{
	size_t low = 0, high = image->names ? image->n : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, image->names[middle]->name);

		if (!order)
			return image->names[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const char *
image_meta(const struct image *image, const char *key)
{
	for (size_t i = 0; i < image->meta_n; i++)
		if (!strcmp(image->meta[i].key, key))
			return image->meta[i].value;
	return NULL;
}
