/*
 * What a question and an image must look like.
 */
#include "stream/schema.h"

#include <string.h>

#include "sys/floats.h"

static int
label_read(const struct rec_in *in, const msgpack_object *label, struct err *err)
{
	if (label->type != MSGPACK_OBJECT_MAP)
		return rec_fault(in, err, "'label' has another type, expected a map from answer to score");
	for (uint32_t i = 0; i < label->via.map.size; i++) {
		const msgpack_object_kv *kv = &label->via.map.ptr[i];
		double score = kv->val.type == MSGPACK_OBJECT_POSITIVE_INTEGER ? (double)kv->val.via.u64
		               : kv->val.type == MSGPACK_OBJECT_FLOAT32 || kv->val.type == MSGPACK_OBJECT_FLOAT64
		                       ? kv->val.via.f64
		                       : -1;

		if (kv->key.type != MSGPACK_OBJECT_STR)
			return rec_fault(in, err, "'label' has a key that is no string, expected an answer");
		if (!(score >= 0 && score <= 1))
			return rec_fault(in, err, "'label' of answer '%.*s' is no number from 0 to 1",
			                 (int)(kv->key.via.str.size < 64 ? kv->key.via.str.size : 64),
			                 kv->key.via.str.ptr);
	}
	return 0;
}

static int
check_count(const struct rec_in *in, size_t T, struct err *err)
{
	return T < 1 || T > TOKENS_MAX ? rec_fault(in, err, "'tokens' has %zu tokens, expected 1 to %d", T, TOKENS_MAX)
	                               : 0;
}

static int
token_array(const struct rec_in *in, const msgpack_object_array *array, struct question *q, struct err *err)
{
	if (check_count(in, array->size, err))
		return -1;
	for (uint32_t i = 0; i < array->size; i++) {
		const msgpack_object *o = &array->ptr[i];

		if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > INT32_MAX)
			return rec_fault(in, err, "'tokens' has an element %u that is no integer from 0 to %d", i,
			                 INT32_MAX);
		q->tokens[i] = (int32_t)o->via.u64;
	}
	q->T = (int)array->size;
	return 0;
}

static int
tokens_read(const struct rec_in *in, struct question *q, struct err *err)
{
	const msgpack_object *tokens = rec_get(in, "tokens");
	const void *values;
	size_t T;

	if (tokens && tokens->type == MSGPACK_OBJECT_ARRAY)
		return token_array(in, &tokens->via.array, q, err);
	if (rec_i32(in, "tokens", &values, &T, err) || check_count(in, T, err))
		return -1;
	memcpy(q->tokens, values, T * sizeof *q->tokens);
	q->T = (int)T;
	return 0;
}

int
question_read(const struct rec_in *in, struct question *q, struct err *err)
{
	q->label = rec_get(in, "label");
	if (rec_int(in, "id", INT64_MIN, INT64_MAX, &q->id, err) ||
	    rec_text(in, "image", &q->image, &q->image_n, err) || tokens_read(in, q, err))
		return -1;
	if (q->label && q->label->type == MSGPACK_OBJECT_NIL)
		q->label = NULL;
	return q->label ? label_read(in, q->label, err) : 0;
}

/* Whether "dtype" names f16 for the features: 1, 0, or -1 for any other type. */
static int
features_f16(const struct rec_in *in, struct err *err)
{
	const msgpack_object *dtype = rec_get(in, "dtype");

	if (!dtype)
		return 0;
	if (dtype->type != MSGPACK_OBJECT_MAP)
		return rec_fault(in, err, "'dtype' has another type, expected a map from field to type");
	for (uint32_t i = 0; i < dtype->via.map.size; i++) {
		const msgpack_object_kv *kv = &dtype->via.map.ptr[i];

		if (!object_is(&kv->key, "features"))
			continue;
		if (object_is(&kv->val, "f16"))
			return 1;
		if (object_is(&kv->val, "f32"))
			return 0;
		return rec_fault(in, err, "'dtype' of features is neither f32 nor f16");
	}
	return 0;
}

static int
boxes_read(const struct rec_in *in, struct image_rec *image, struct err *err)
{
	size_t n;

	if (rec_f32(in, "boxes", &image->boxes, &n, err))
		return -1;
	if (n != (size_t)image->n * 4)
		return rec_fault(in, err, "'boxes' has %zu values, expected 4 for each of %d regions", n, image->n);
	for (size_t i = 0; i < n; i++) {
		float x;

		memcpy(&x, (const char *)image->boxes + 4 * i, sizeof x);
		if (!(x >= -1e-5f && x <= 1 + 1e-5f))
			return rec_fault(in, err, "image '%.*s': box of region %zu: column %zu is %g, expected 0 to 1",
			                 (int)image->id_n, image->id, i / 4, i % 4, (double)x);
	}
	return 0;
}

static int
check_finite(const struct rec_in *in, const struct image_rec *image, struct err *err)
{
	size_t n = (size_t)image->n * (size_t)image->width, i;
	float x;

	i = image->f16 ? first_half_not_finite(image->features, n) : first_not_finite(image->features, n);
	if (i == n)
		return 0;
	if (image->f16)
		halves_to_floats(&x, (const char *)image->features + 2 * i, 1);
	else
		memcpy(&x, (const char *)image->features + 4 * i, sizeof x);
	return rec_fault(in, err, "image '%.*s': feature of region %zu, column %zu is %g, expected a finite number",
	                 (int)image->id_n, image->id, i / (size_t)image->width, i % (size_t)image->width, (double)x);
}

int
image_rec_read(const struct rec_in *in, struct image_rec *image, struct err *err)
{
	const msgpack_object *features = rec_get(in, "features");
	int64_t n;
	size_t size, row;

	*image = (struct image_rec){ 0 };
	if (rec_text(in, "id", &image->id, &image->id_n, err) || rec_int(in, "n", 1, OBJECTS_PER_IMAGE_MAX, &n, err))
		return -1;
	image->n = (int)n;
	image->f16 = features_f16(in, err);
	if (image->f16 < 0 || boxes_read(in, image, err))
		return -1;
	if (!features || features->type != MSGPACK_OBJECT_BIN)
		return rec_fault(in, err,
		                 features ? "'features' has another type, expected float values (bin)"
		                          : "'features' is missing, expected float values (bin)");
	size = features->via.bin.size;
	row = (size_t)n * (image->f16 ? 2 : 4);
	if (!size || size % row)
		return rec_fault(in, err,
		                 "image '%.*s': 'features' has %zu bytes, expected a multiple of %zu for %d regions",
		                 (int)image->id_n, image->id, size, row, image->n);
	image->features = features->via.bin.ptr;
	image->width = (int64_t)(size / row);
	return check_finite(in, image, err);
}

void
image_rec_features(const struct image_rec *image, float *out)
{
	size_t n = (size_t)image->n * (size_t)image->width;

	if (image->f16)
		halves_to_floats(out, image->features, n);
	else
		memcpy(out, image->features, n * sizeof *out);
}
