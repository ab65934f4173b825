/*
 * The records that several programs read, in one place: the fields of a question and of an image (vqa-stream(5)).
 * Pointers lead into the reader's current record.
 */
#ifndef VQA_STREAM_SCHEMA_H
#define VQA_STREAM_SCHEMA_H

#include "stream/record.h"

/* Bounds of a record, and so of a batch and a model. */
enum { TOKENS_MAX = 512, OBJECTS_PER_IMAGE_MAX = 1024, ANSWERS_MAX = 1 << 16, BATCH_MAX = 4096 };

struct question {
	int64_t id;
	const char *image; /* not terminated */
	size_t image_n;
	int32_t tokens[TOKENS_MAX]; /* (T): [CLS] … [SEP], no padding */
	int T;
	const msgpack_object *label; /* a map answer -> score 0..1, or NULL */
};

struct image_rec {
	const char *id; /* not terminated */
	size_t id_n;
	int n;                /* R regions */
	const void *boxes;    /* f32 (R, 4): x1 y1 x2 y2 as shares of width and height, 0..1 */
	const void *features; /* (R, width), f32, or f16 when the record's dtype says so */
	int f16;
	int64_t width; /* features a region */
};

/* Tokens are an i32 bin or an array of integers, 1..TOKENS_MAX of them. */
int question_read(const struct rec_in *in, struct question *q, struct err *err);
/* Checks n, the sizes of both fields, boxes within 0..1 (1e-5) and every feature finite, naming region and column. */
int image_rec_read(const struct rec_in *in, struct image_rec *image, struct err *err);
/* features as f32 into out (R, width). */
void image_rec_features(const struct image_rec *image, float *out);

#endif
