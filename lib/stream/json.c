/*
 * JSON lines: printed by hand in the record's own order, read by jansson.
 */
#include "stream/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "feat/base64.h"
#include "sys/half.h"
#include "text/utf8.h"

enum element { BYTES, F32, F16, I32 };

/* Whether a map of one key would be read back as something else: see json.h. */
static int
is_special(const char *key, size_t n)
{
	static const char *const names[] = { "f32", "f16", "i32", "bin", "f64", "u64", "map" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i]) == n && !memcmp(key, names[i], n))
			return 1;
	return 0;
}

/* The type of a bin field; inside "attention" all are matrices. */
static enum element
element_of(const msgpack_object_map *record, const char *key, size_t n, int in_attention)
{
	static const char *const floats[] = { "boxes", "features", "logits", "gradient" };

	if (in_attention)
		return F32;
	if (n == 6 && !memcmp(key, "tokens", 6))
		return I32;
	for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
		if (strlen(floats[i]) != n || memcmp(key, floats[i], n) != 0)
			continue;
		for (uint32_t k = 0; k < record->size; k++) {
			const msgpack_object *dtype = &record->ptr[k].val;

			if (record->ptr[k].key.type != MSGPACK_OBJECT_STR || record->ptr[k].key.via.str.size != 5 ||
			    memcmp(record->ptr[k].key.via.str.ptr, "dtype", 5) != 0 ||
			    dtype->type != MSGPACK_OBJECT_MAP)
				continue;
			for (uint32_t j = 0; j < dtype->via.map.size; j++) {
				const msgpack_object_kv *kv = &dtype->via.map.ptr[j];

				if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == n &&
				    !memcmp(kv->key.via.str.ptr, key, n))
					return kv->val.type == MSGPACK_OBJECT_STR && kv->val.via.str.size == 3 &&
					                       !memcmp(kv->val.via.str.ptr, "f16", 3)
					               ? F16
					               : BYTES;
			}
		}
		return F32;
	}
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

static void
put_bin(FILE *out, const msgpack_object_bin *bin, enum element element)
{
	size_t size = element == F16 ? 2 : 4, n = bin->size / size;

	if (element == BYTES || bin->size % size) {
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

struct context {
	const struct rec_in *in;
	const msgpack_object_map *record;
	FILE *out;
};

static int put_value(const struct context *c, const msgpack_object *o, const char *key, size_t key_n, int in_attention,
                     struct err *err);

static int
put_map(const struct context *c, const msgpack_object_map *map, int in_attention, struct err *err)
{
	int wrap = map != c->record && map->size == 1 && map->ptr->key.type == MSGPACK_OBJECT_STR &&
	           is_special(map->ptr->key.via.str.ptr, map->ptr->key.via.str.size);

	fputs(wrap ? "{\"map\":{" : "{", c->out);
	for (uint32_t i = 0; i < map->size; i++) {
		const msgpack_object_str *key = &map->ptr[i].key.via.str;
		int attention = in_attention;

		if (map->ptr[i].key.type != MSGPACK_OBJECT_STR)
			return rec_fault(c->in, err, "a key is no string, which JSON cannot say");
		if (!utf8_valid(key->ptr, key->size, NULL) || memchr(key->ptr, '\0', key->size))
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
		put_bin(c->out, &o->via.bin, element_of(c->record, key, key_n, in_attention));
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
	const struct context c = { in, &in->rec.via.map, out };

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

/* {"f32": […]} and its like to bytes; malloc'd. */
static int
pack_numbers(msgpack_packer *pack, const char *type, const json_t *list, struct err *err)
{
	size_t n = json_array_size(list), size = !strcmp(type, "f16") ? 2 : 4;
	uint8_t *bytes = malloc(n * size + 1);
	int bad = !bytes || !json_is_array(list);

	if (bad)
		err_set(err, bytes ? "'%s' is no array" : "out of memory for '%s'", type);
	for (size_t i = 0; !bad && i < n; i++) {
		double x = 0;
		float single;
		uint16_t half;
		int32_t whole;

		bad = special(json_array_get(list, i), &x);
		single = (float)x;
		half = float_to_half(single);
		if (!strcmp(type, "f32")) {
			bad = bad || (isfinite(x) && !isfinite(single));
			memcpy(bytes + 4 * i, &single, 4);
		} else if (size == 2) {
			bad = bad || (isfinite(x) && !isfinite(half_to_float(half)));
			memcpy(bytes + 2 * i, &half, 2);
		} else {
			bad = bad || !(x >= INT32_MIN && x <= INT32_MAX && x == floor(x));
			whole = bad ? 0 : (int32_t)x;
			memcpy(bytes + 4 * i, &whole, 4);
		}
		if (bad)
			err_set(err, "element %zu of '%s' is no such number", i, type);
	}
	if (!bad)
		msgpack_pack_bin_with_body(pack, bytes, n * size);
	free(bytes);
	return bad ? -1 : 0;
}

static int
pack_bytes(msgpack_packer *pack, const json_t *json, struct err *err)
{
	size_t length = json_string_length(json), at;
	uint8_t *bytes = malloc(length / 4 * 3 + 1);
	long n = bytes && json_is_string(json) ? base64_decode(bytes, json_string_value(json), length, &at) : -1;

	if (n >= 0)
		msgpack_pack_bin_with_body(pack, bytes, (size_t)n);
	free(bytes);
	return n < 0 ? err_set(err, "'bin' is no base64") : 0;
}

static int pack_value(msgpack_packer *pack, json_t *json, int depth, struct err *err);

/* What a map of one key that is a type's name stands for. */
static int
pack_special(msgpack_packer *pack, const char *key, json_t *value, struct err *err)
{
	const char *text = json_string_value(value);
	unsigned long long whole;
	double x = 0;
	char *end;

	if (!strcmp(key, "bin"))
		return pack_bytes(pack, value, err);
	if (!strcmp(key, "u64")) {
		errno = 0;
		whole = text ? strtoull(text, &end, 10) : 0;
		if (!text || text[0] < '0' || text[0] > '9' || *end || errno)
			return err_set(err, "'u64' is no string of a whole number to %llu",
			               (unsigned long long)UINT64_MAX);
		msgpack_pack_uint64(pack, whole);
		return 0;
	}
	if (strcmp(key, "f64") != 0 && (strcmp(key, "f32") != 0 || json_is_array(value)))
		return pack_numbers(pack, key, value, err);
	if (special(value, &x) || (key[1] == '3' && isfinite(x) && !isfinite((float)x)))
		return err_set(err, "'%s' is no such number", key);
	if (key[1] == '3')
		msgpack_pack_float(pack, (float)x);
	else
		msgpack_pack_double(pack, x);
	return 0;
}

static int
pack_object(msgpack_packer *pack, json_t *json, int depth, struct err *err)
{
	const char *key = json_object_iter_key(json_object_iter(json));
	json_t *value = key ? json_object_get(json, key) : NULL;

	if (json_object_size(json) == 1 && !strcmp(key, "map") && json_is_object(value))
		json = value;
	else if (json_object_size(json) == 1 && strcmp(key, "map") != 0 && is_special(key, strlen(key)))
		return pack_special(pack, key, value, err);
	msgpack_pack_map(pack, json_object_size(json));
	json_object_foreach(json, key, value)
	{
		msgpack_pack_str_with_body(pack, key, strlen(key));
		if (pack_value(pack, value, depth, err))
			return -1;
	}
	return 0;
}

static int
pack_value(msgpack_packer *pack, json_t *json, int depth, struct err *err)
{
	json_t *item;
	size_t i;

	if (!depth)
		return err_set(err, "nested deeper than %d levels", DEPTH_MAX);
	switch (json_typeof(json)) {
	case JSON_NULL:
		msgpack_pack_nil(pack);
		return 0;
	case JSON_TRUE:
		msgpack_pack_true(pack);
		return 0;
	case JSON_FALSE:
		msgpack_pack_false(pack);
		return 0;
	case JSON_INTEGER:
		msgpack_pack_int64(pack, json_integer_value(json));
		return 0;
	case JSON_REAL:
		msgpack_pack_double(pack, json_real_value(json));
		return 0;
	case JSON_STRING:
		msgpack_pack_str_with_body(pack, json_string_value(json), json_string_length(json));
		return 0;
	case JSON_ARRAY:
		msgpack_pack_array(pack, json_array_size(json));
		json_array_foreach(json, i, item)
		{
			if (pack_value(pack, item, depth - 1, err))
				return -1;
		}
		return 0;
	case JSON_OBJECT:
		return pack_object(pack, json, depth - 1, err);
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
	rec_begin(out, NULL);
	json_object_foreach(json, key, value)
	{
		/* Not rec_put(): that one remembers names, and only so many. */
		msgpack_pack_str_with_body(&out->pack, key, strlen(key));
		out->fields++;
		if (!bad && pack_value(&out->pack, value, DEPTH_MAX - 1, err))
			bad = err_prefix(err, "%s: '%s'", where, key);
	}
	json_decref(json);
	return bad ? bad : rec_send(out, err);
}
