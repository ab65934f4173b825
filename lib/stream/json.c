/*
 * JSON lines: printed by hand in the record's own order, read by jansson.
 */
#include "stream/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sys/base64.h"
#include "sys/half.h"
#include "sys/utf8.h"

enum element { BYTES, F32, F16, I32 };

static const char *const float_fields[] = { "boxes", "features", "logits", "gradient" };
enum { FLOAT_FIELDS = sizeof float_fields / sizeof *float_fields };

struct context {
	const struct rec_in *in;
	const msgpack_object_map *record;
	enum element elements[FLOAT_FIELDS]; /* what "dtype" says of them */
	FILE *out;
};

static void
find_elements(struct context *c)
{
	const msgpack_object *dtype = rec_get(c->in, "dtype");
	uint32_t n = dtype && dtype->type == MSGPACK_OBJECT_MAP ? dtype->via.map.size : 0;

	for (size_t f = 0; f < FLOAT_FIELDS; f++) {
		c->elements[f] = F32;
		for (uint32_t i = 0; i < n; i++) {
			const msgpack_object_kv *kv = &dtype->via.map.ptr[i];

			if (!object_is(&kv->key, float_fields[f]))
				continue;
			c->elements[f] = object_is(&kv->val, "f16") ? F16 : object_is(&kv->val, "f32") ? F32 : BYTES;
			break;
		}
	}
}

/* The type of a bin field; inside "attention" all are matrices. */
static enum element
element_of(const struct context *c, const char *key, size_t n, int in_attention)
{
	if (in_attention)
		return F32;
	if (n == 6 && !memcmp(key, "tokens", 6))
		return I32;
	for (size_t f = 0; f < FLOAT_FIELDS; f++)
		if (strlen(float_fields[f]) == n && !memcmp(key, float_fields[f], n))
			return c->elements[f];
	return BYTES;
}

static void
put_text(FILE *out, const char *text, size_t n)
{
	putc('"', out);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ')
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

/* The shortest of float32's digits that comes back the same; a decimal point or exponent tells it from an integer. */
static void
put_number(FILE *out, double x, int digits)
{
	char text[40];

	if (!isfinite(x)) {
		fputs(isnan(x) ? (signbit(x) ? "\"-nan\"" : "\"nan\"") : x > 0 ? "\"inf\"" : "\"-inf\"", out);
		return;
	}
	for (int d = digits == 9 ? 6 : 15; d <= digits; d++) {
		snprintf(text, sizeof text, "%.*g", d, x);
		if (digits == 9 ? (float)strtod(text, NULL) == (float)x : strtod(text, NULL) == x)
			break;
	}
	fprintf(out, "%s%s", text, strpbrk(text, ".eE") ? "" : ".0");
}

/* Not-a-number has many patterns of bits; the words that JSON lines have for it stand for the plain one and its negative. */
static int
has_odd_nan(const msgpack_object_bin *bin, enum element element)
{
	size_t size = element == F16 ? 2 : 4;
	uint32_t sign = element == F16 ? 0x8000 : 0x80000000;
	uint32_t infinite = element == F16 ? 0x7c00 : 0x7f800000, plain = element == F16 ? 0x7e00 : 0x7fc00000;

	for (size_t at = 0; element != I32 && at < bin->size; at += size) {
		uint32_t bits = 0;

		memcpy(&bits, bin->ptr + at, size);
		if ((bits & ~sign) > infinite && (bits & ~sign) != plain)
			return 1;
	}
	return 0;
}

static void
put_bin(FILE *out, const msgpack_object_bin *bin, enum element element)
{
	size_t size = element == F16 ? 2 : 4, n = bin->size / size;

	if (element == BYTES || bin->size % size || has_odd_nan(bin, element)) {
		char text[4096];

		fputs("{\"bin\":\"", out);
		for (size_t at = 0; at < bin->size; at += 3072) {
			size_t part = bin->size - at < 3072 ? bin->size - at : 3072;

			base64_encode(text, bin->ptr + at, part);
			fwrite(text, 1, base64_length(part), out);
		}
		fputs("\"}", out);
		return;
	}
	fprintf(out, "{\"%s\":[", element == F32 ? "f32" : element == F16 ? "f16" : "i32");
	for (size_t i = 0; i < n; i++) {
		uint16_t half;
		int32_t whole;
		float x;

		if (i)
			putc(',', out);
		if (element == F32) {
			memcpy(&x, bin->ptr + 4 * i, sizeof x);
			put_number(out, (double)x, 9);
		} else if (element == F16) {
			memcpy(&half, bin->ptr + 2 * i, sizeof half);
			put_number(out, (double)half_to_float(half), 9);
		} else {
			memcpy(&whole, bin->ptr + 4 * i, sizeof whole);
			fprintf(out, "%d", whole);
		}
	}
	fputs("]}", out);
}

static int put_value(const struct context *c, const msgpack_object *o, const char *key, size_t key_n, int in_attention,
                     struct err *err);

/* A map whose only key is one of these words stands for something else; one that is really there is printed as {"map": it}. */
static int
is_mark(const char *key, size_t n)
{
	static const char *const words[] = { "f32", "f16", "i32", "bin", "f64", "u64", "map" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strlen(words[i]) == n && !memcmp(key, words[i], n))
			return 1;
	return 0;
}

static int
put_map(const struct context *c, const msgpack_object_map *map, int in_attention, struct err *err)
{
	int wrap = map != c->record && map->size == 1 && map->ptr->key.type == MSGPACK_OBJECT_STR &&
	           is_mark(map->ptr->key.via.str.ptr, map->ptr->key.via.str.size);

	fputs(wrap ? "{\"map\":{" : "{", c->out);
	for (uint32_t i = 0; i < map->size; i++) {
		const msgpack_object_str *key = &map->ptr[i].key.via.str;
		int attention = in_attention;

		if (map->ptr[i].key.type != MSGPACK_OBJECT_STR)
			return rec_fault(c->in, err, "a key is no string, which JSON cannot say");
		if (!utf8_text(key->ptr, key->size))
			return rec_fault(c->in, err, "a key is not UTF-8 without NUL, which JSON cannot say");
		if (i)
			putc(',', c->out);
		put_text(c->out, key->ptr, key->size);
		putc(':', c->out);
		if (map == c->record)
			attention = key->size == 9 && !memcmp(key->ptr, "attention", 9);
		if (put_value(c, &map->ptr[i].val, key->ptr, key->size, attention, err))
			return -1;
	}
	fputs(wrap ? "}}" : "}", c->out);
	return 0;
}

/* Recursion ends: the scanner has bounded the depth. */
static int
put_value(const struct context *c, const msgpack_object *o, const char *key, size_t key_n, int in_attention,
          struct err *err)
{
	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		fputs("null", c->out);
		return 0;
	case MSGPACK_OBJECT_BOOLEAN:
		fputs(o->via.boolean ? "true" : "false", c->out);
		return 0;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		fprintf(c->out, o->via.u64 > INT64_MAX ? "{\"u64\":\"%llu\"}" : "%llu", (unsigned long long)o->via.u64);
		return 0;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		fprintf(c->out, "%lld", (long long)o->via.i64);
		return 0;
	case MSGPACK_OBJECT_FLOAT32:
		fputs("{\"f32\":", c->out);
		put_number(c->out, o->via.f64, 9);
		putc('}', c->out);
		return 0;
	case MSGPACK_OBJECT_FLOAT64:
		if (!isfinite(o->via.f64))
			fputs("{\"f64\":", c->out);
		put_number(c->out, o->via.f64, 17);
		if (!isfinite(o->via.f64))
			putc('}', c->out);
		return 0;
	case MSGPACK_OBJECT_STR:
		if (!utf8_valid(o->via.str.ptr, o->via.str.size, NULL))
			return rec_fault(c->in, err, "'%.*s' is not UTF-8 text, which JSON cannot say",
			                 (int)(key_n < 64 ? key_n : 64), key);
		put_text(c->out, o->via.str.ptr, o->via.str.size);
		return 0;
	case MSGPACK_OBJECT_BIN:
		put_bin(c->out, &o->via.bin, element_of(c, key, key_n, in_attention));
		return 0;
	case MSGPACK_OBJECT_MAP:
		return put_map(c, &o->via.map, in_attention, err);
	case MSGPACK_OBJECT_ARRAY:
		putc('[', c->out);
		for (uint32_t i = 0; i < o->via.array.size; i++) {
			if (i)
				putc(',', c->out);
			if (put_value(c, &o->via.array.ptr[i], key, key_n, 0, err))
				return -1;
		}
		putc(']', c->out);
		return 0;
	default:
		return rec_fault(c->in, err, "'%.*s' is of a type that JSON cannot say", (int)(key_n < 64 ? key_n : 64),
		                 key);
	}
}

int
json_from_record(FILE *out, const struct rec_in *in, struct err *err)
{
	struct context c = { .in = in, .record = &in->rec.via.map, .out = out };

	find_elements(&c);
	if (put_map(&c, c.record, 0, err))
		return -1;
	putc('\n', out);
	return fflush(out) || ferror(out) ? err_sys(err, "stdout: cannot write") : 0;
}

static int
special(const json_t *json, double *out)
{
	const char *text = json_string_value(json);

	if (json_is_number(json))
		*out = json_number_value(json);
	else if (text && !strcmp(text, "nan"))
		*out = NAN;
	else if (text && !strcmp(text, "-nan"))
		*out = -NAN;
	else if (text && !strcmp(text, "inf"))
		*out = INFINITY;
	else if (text && !strcmp(text, "-inf"))
		*out = -INFINITY;
	else
		return -1;
	return 0;
}

/* x as an element of bytes; 0 if it is none: over its type's range, or a part of a whole number. */
static int
put_element(uint8_t *to, enum element element, double x)
{
	float single = (float)x;
	uint16_t half = float_to_half(single);
	int32_t whole;

	switch (element) {
	case F32:
		memcpy(to, &single, sizeof single);
		return !isfinite(x) || isfinite(single);
	case F16:
		memcpy(to, &half, sizeof half);
		return !isfinite(x) || isfinite(half_to_float(half));
	default:
		if (!(x >= INT32_MIN && x <= INT32_MAX) || x != trunc(x))
			return 0;
		whole = (int32_t)x;
		memcpy(to, &whole, sizeof whole);
		return 1;
	}
}

/* {"f32": […]} and its like to bytes. */
static int
pack_numbers(struct rec_out *out, const char *type, const json_t *list, struct err *err)
{
	enum element element = !strcmp(type, "f32") ? F32 : !strcmp(type, "f16") ? F16 : I32;
	size_t n = json_array_size(list), size = element == F16 ? 2 : 4;
	uint8_t *bytes = malloc(n * size + 1);

	if (!bytes)
		return err_set(err, "out of memory for %zu numbers", n);
	for (size_t i = 0; i < n; i++) {
		double x;

		if (special(json_array_get(list, i), &x) || !put_element(bytes + size * i, element, x)) {
			free(bytes);
			return err_set(err, "element %zu of '%s' is no such number", i, type);
		}
	}
	msgpack_pack_bin_with_body(&out->pack, bytes, n * size);
	free(bytes);
	return 0;
}

static int
pack_bytes(struct rec_out *out, const json_t *json, struct err *err)
{
	const char *text = json_string_value(json);
	size_t length = json_string_length(json), at;
	uint8_t *bytes = text ? malloc(base64_bytes(text, length) + 1) : NULL;
	long n = bytes ? base64_decode(bytes, text, length, &at) : -1;

	if (n >= 0)
		msgpack_pack_bin_with_body(&out->pack, bytes, (size_t)n);
	free(bytes);
	return n < 0 ? err_set(err, bytes || !text ? "'bin' is no base64" : "out of memory for 'bin'") : 0;
}

static void
pack_text(struct rec_out *out, const char *text, size_t n)
{
	msgpack_pack_str_with_body(&out->pack, text, n);
}

static int pack_value(struct rec_out *out, json_t *json, int depth, struct err *err);

static int
pack_map(struct rec_out *out, json_t *json, int depth, struct err *err)
{
	const char *key;
	json_t *value;

	msgpack_pack_map(&out->pack, json_object_size(json));
	json_object_foreach(json, key, value)
	{
		pack_text(out, key, strlen(key));
		if (pack_value(out, value, depth, err))
			return -1;
	}
	return 0;
}

static int
pack_u64(struct rec_out *out, const char *text, struct err *err)
{
	unsigned long long whole;
	char *end;

	errno = 0;
	whole = text ? strtoull(text, &end, 10) : 0;
	if (!text || text[0] < '0' || text[0] > '9' || *end || errno)
		return err_set(err, "'u64' is no string of a whole number to %llu", (unsigned long long)UINT64_MAX);
	msgpack_pack_uint64(&out->pack, whole);
	return 0;
}

/* What a map whose only key is such a word stands for. */
static int
pack_mark(struct rec_out *out, const char *key, const json_t *value, struct err *err)
{
	int single = !strcmp(key, "f32");
	double x;

	if (!strcmp(key, "bin"))
		return pack_bytes(out, value, err);
	if (!strcmp(key, "u64"))
		return pack_u64(out, json_string_value(value), err);
	if (json_is_array(value) && strcmp(key, "f64") != 0)
		return pack_numbers(out, key, value, err);
	if (!single && strcmp(key, "f64") != 0)
		return err_set(err, "'%s' is no array", key);
	if (special(value, &x) || (single && isfinite(x) && !isfinite((float)x)))
		return err_set(err, "'%s' is no such number", key);
	if (single)
		msgpack_pack_float(&out->pack, (float)x);
	else
		msgpack_pack_double(&out->pack, x);
	return 0;
}

static int
pack_object(struct rec_out *out, json_t *json, int depth, struct err *err)
{
	const char *key = json_object_size(json) == 1 ? json_object_iter_key(json_object_iter(json)) : "";
	json_t *value = json_object_get(json, key);

	if (!strcmp(key, "map") && json_is_object(value))
		return pack_map(out, value, depth, err);
	if (strcmp(key, "map") != 0 && is_mark(key, strlen(key)))
		return pack_mark(out, key, value, err);
	return pack_map(out, json, depth, err);
}

static int
pack_array(struct rec_out *out, json_t *json, int depth, struct err *err)
{
	json_t *item;
	size_t i;

	msgpack_pack_array(&out->pack, json_array_size(json));
	json_array_foreach(json, i, item)
	{
		if (pack_value(out, item, depth, err))
			return -1;
	}
	return 0;
}

static int
pack_value(struct rec_out *out, json_t *json, int depth, struct err *err)
{
	if (!depth)
		return err_set(err, "nested deeper than %d levels", DEPTH_MAX);
	switch (json_typeof(json)) {
	case JSON_NULL:
		msgpack_pack_nil(&out->pack);
		return 0;
	case JSON_TRUE:
		msgpack_pack_true(&out->pack);
		return 0;
	case JSON_FALSE:
		msgpack_pack_false(&out->pack);
		return 0;
	case JSON_INTEGER:
		msgpack_pack_int64(&out->pack, json_integer_value(json));
		return 0;
	case JSON_REAL:
		msgpack_pack_double(&out->pack, json_real_value(json));
		return 0;
	case JSON_STRING:
		pack_text(out, json_string_value(json), json_string_length(json));
		return 0;
	case JSON_ARRAY:
		return pack_array(out, json, depth - 1, err);
	case JSON_OBJECT:
		return pack_object(out, json, depth - 1, err);
	}
	return err_set(err, "a value of no type that JSON has");
}

int
json_to_record(struct rec_out *out, const char *line, size_t n, const char *where, int *end, struct err *err)
{
	json_error_t at;
	json_t *json = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at), *value;
	const char *type = json_string_value(json_object_get(json, "type")), *key;
	int bad = 0;

	if (!json)
		return err_set(err, "%s: byte %d: %s", where, at.position, at.text);
	if (!type) {
		json_decref(json);
		return err_set(err, "%s: 'type' is missing, expected a JSON object with a type", where);
	}
	*end = !strcmp(type, "end");
	rec_clear(out);
	json_object_foreach(json, key, value)
	{
		out->fields++;
		pack_text(out, key, strlen(key));
		/* The record itself is a level, as the reader counts. */
		if (!bad && pack_value(out, value, DEPTH_MAX - 1, err))
			bad = err_prefix(err, "%s: '%s'", where, key);
	}
	json_decref(json);
	return bad ? bad : rec_send(out, err);
}
