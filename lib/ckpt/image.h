/*
 * A safetensors image: 8 bytes little-endian length n, n bytes of JSON header, then the tensors' bytes. A file or
 * (while training) a piece of shared memory.
 *
 * An image that was opened has been checked whole: the header is within its limits (100 MB as safetensors has it), every
 * tensor lies inside the data, none overlap, there are no holes, and each length is its shape times its type's size. Values
 * are not looked at.
 */
#ifndef VQA_CKPT_IMAGE_H
#define VQA_CKPT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

enum dtype {
	DTYPE_F64,
	DTYPE_F32,
	DTYPE_F16,
	DTYPE_BF16,
	DTYPE_I64,
	DTYPE_I32,
	DTYPE_I16,
	DTYPE_I8,
	DTYPE_U8,
	DTYPE_BOOL
};

enum { TENSOR_DIMS = 4, TENSOR_NAME = 192, TENSORS_MOST = 1 << 17, IMAGE_HEADER_MOST = 100000000 /* bytes */ };

struct tensor {
	char name[TENSOR_NAME];
	enum dtype dtype;
	int dims;
	int64_t shape[TENSOR_DIMS];
	size_t offset, bytes; /* of the data, from the image's first byte */
};

struct image_meta {
	char *key, *value;
};

struct image {
	uint8_t *base;          /* NULL for an image that is only laid out */
	size_t size;            /* header and data */
	struct tensor *tensors; /* in order of offset */
	size_t n;
	const struct tensor **names; /* (n): in order of name; NULL for an image that is only laid out */
	struct image_meta *meta;
	size_t meta_n;
	int mapped; /* base is a mapping of this image's own */
};

size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype);
/* n values as float32; an integer type is an error. */
int dtype_to_f32(float *out, const void *in, size_t n, enum dtype dtype, struct err *err);

/* Map a file read-only (private); checks everything. Messages begin with the path. A file that shrinks later is the
 * caller's risk as with any mapping; programs that keep an image for long copy it. */
int image_open(struct image *image, const char *path, struct err *err);
/* The same over memory that the caller keeps. */
int image_parse(struct image *image, void *base, size_t size, const char *name, struct err *err);
void image_close(struct image *image);
/* For who reads images of another kind: what is filled in becomes ordered, and image_find works. A name twice is an error. */
int image_sort(struct image *image, struct err *err);

/* By name, in an image that was opened; NULL if there is none. */
const struct tensor *image_find(const struct image *image, const char *name);
const char *image_meta(const struct image *image, const char *key);
static inline void *
image_data(const struct image *image, const struct tensor *tensor)
{
	return image->base + tensor->offset;
}

/* A mapped file's bytes will not be read soon: they need not stay in memory. */
void image_forget(const struct image *image, const void *data, size_t bytes);

/* Lay out an image to be written (image_write.c): begin, add tensors and metadata, then the header's bytes. Data start on a multiple
 * of 64 bytes (the header is padded with spaces), and so does each tensor whose predecessors are multiples of 64. */
void image_begin(struct image *image);
int image_add(struct image *image, const char *name, enum dtype dtype, int dims, const int64_t *shape, struct err *err);
int image_add_meta(struct image *image, const char *key, const char *value, struct err *err);
/* Put the tensors whose bytes are multiples of 64 first, then of 32, and so on: each begins on as much (64) as its size has. */
void image_align(struct image *image);
/* Fix offsets and size; *header is malloc'd, header_bytes long: the image's first bytes. */
int image_layout(struct image *image, uint8_t **header, size_t *header_bytes, struct err *err);

/*
 * Write a whole image to path, by a temporary file in the same folder, fsync and rename. data[i] belongs to tensor i (in the
 * order of image_add). On any fault the temporary file is removed and what was at path is still there.
 */
int image_write(struct image *layout, const void *const *data, const char *path, struct err *err);
/* The same, with tensor i's data asked for when they are to be written; good until the next is asked for. */
typedef const void *image_source(void *user, size_t i);
int image_write_from(struct image *layout, image_source *source, void *user, const char *path, struct err *err);

#endif
