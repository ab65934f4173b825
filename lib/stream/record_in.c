/*
 * Reading records. A record is measured by the scanner before msgpack-c unpacks it, so that what it
 * allocates is bounded by what has really arrived.
 */
#include "stream/record.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream/scan.h"
#include "sys/utf8.h"

enum { FIRST_BUFFER = 1 << 16 };
enum { BEFORE_HEADER, INSIDE, AFTER_END };

int
rec_open(struct rec_in *in, int fd, const char *name, struct err *err)
{
	*in = (struct rec_in){ .fd = fd, .name = name, .size = FIRST_BUFFER };
	in->buf = malloc(in->size);
	if (!in->buf || !msgpack_zone_init(&in->zone, 8192)) {
		free(in->buf);
		return err_set(err, "%s: out of memory", name);
	}
	return 0;
}

void
rec_close(struct rec_in *in)
{
	free(in->buf);
	msgpack_zone_destroy(&in->zone);
	*in = (struct rec_in){ .fd = -1 };
}

/* At least one more byte into the buffer: 1, or 0 at the end of the file. */
static int
fill(struct rec_in *in, struct err *err)
{
	ssize_t got;

	if (in->begin && in->end == in->size) {
		memmove(in->buf, in->buf + in->begin, in->end - in->begin);
		in->end -= in->begin;
		in->begin = 0;
	}
	if (in->end == in->size) {
		uint8_t *more = realloc(in->buf, in->size * 2);

		if (!more)
			return err_set(err, "%s: out of memory for a record of over %zu bytes", in->name, in->size);
		in->buf = more;
		in->size *= 2;
	}
	do
		got = read(in->fd, in->buf + in->end, in->size - in->end);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(err, "%s: cannot read", in->name);
	in->end += (size_t)got;
	return got > 0;
}

static int
scan_fault(const struct rec_in *in, enum scan_result result, const struct scan *scan, struct err *err)
{
	long long number = (long long)in->count + 1;

	switch (result) {
	case SCAN_OBJECTS:
		return err_set(err, "%s: record %lld: more than %d values, the most a record may hold", in->name,
		               number, OBJECTS_MAX);
	case SCAN_DEPTH:
		return err_set(err, "%s: record %lld: nested deeper than %d levels", in->name, number, DEPTH_MAX);
	case SCAN_SIZE:
		return err_set(err, "%s: record %lld: longer than %d bytes, the most a record may have", in->name,
		               number, RECORD_MAX);
	default:
		return err_set(err, "%s: record %lld: byte %zu is 0x%02x, which is no msgpack", in->name, number,
		               scan->at, in->buf[in->begin + scan->at]);
	}
}

/* The record's bytes whole in the buffer: 1 and their count, 0 at the end of the file before the first of them. */
static int
gather(struct rec_in *in, size_t *length, struct err *err)
{
	struct scan scan;

	scan_begin(&scan);
	for (;;) {
		enum scan_result result = scan_go(&scan, in->buf + in->begin, in->end - in->begin, length);
		int more;

		/* Every record is a map, so the first byte tells text and noise. */
		if (in->end > in->begin && in->count == 0 && (in->buf[in->begin] & 0xf0) != 0x80 &&
		    in->buf[in->begin] != 0xde && in->buf[in->begin] != 0xdf)
			return err_set(err, "%s: not a stream: its first byte is 0x%02x, expected a msgpack map",
			               in->name, in->buf[in->begin]);
		if (result == SCAN_WHOLE)
			return 1;
		if (result != SCAN_MORE)
			return scan_fault(in, result, &scan, err);
		more = fill(in, err);
		if (more < 0)
			return -1;
		if (more)
			continue;
		if (in->end == in->begin)
			return 0;
		return err_set(err, "%s: stream truncated inside record %lld, after %zu bytes of it", in->name,
		               (long long)in->count + 1, in->end - in->begin);
	}
}

static int
check_header(const struct rec_in *in, struct err *err)
{
	int64_t version;
	const char *by;
	size_t n;

	if (!rec_is(in, "header"))
		return rec_fault(in, err, "expected a header first");
	return rec_int(in, "vqa", 1, 1, &version, err) || rec_text(in, "by", &by, &n, err) ? -1 : 0;
}

static int
by_text(const void *a, const void *b)
{
	const msgpack_object_str *x = *(const msgpack_object_str *const *)a, *y = *(const msgpack_object_str *const *)b;

	/* The pointer of an empty string is NULL. */
	return x->size != y->size ? (x->size < y->size ? -1 : 1) : x->size ? memcmp(x->ptr, y->ptr, x->size) : 0;
}

/* A key that is there twice has two readers see two records: no map in a record may have one. */
static int
check_map(struct rec_in *in, const msgpack_object_map *map, struct err *err)
{
	const msgpack_object_str **keys = msgpack_zone_malloc(&in->zone, map->size * sizeof *keys);
	size_t n = 0;

	if (!keys)
		return err_set(err, "%s: out of memory for a record", in->name);
	for (uint32_t i = 0; i < map->size; i++)
		if (map->ptr[i].key.type == MSGPACK_OBJECT_STR)
			keys[n++] = &map->ptr[i].key.via.str;
	qsort(keys, n, sizeof *keys, by_text);
	for (size_t i = 1; i < n; i++)
		if (!by_text(&keys[i - 1], &keys[i]))
			return err_set(err, "%s: record %lld: key '%.*s' is there twice", in->name,
			               (long long)in->count, keys[i]->size < 64 ? (int)keys[i]->size : 64,
			               keys[i]->ptr);
	return 0;
}

/* Recursion ends: the scanner has bounded the depth. */
static int
check_keys(struct rec_in *in, const msgpack_object *o, struct err *err)
{
	int bad = 0;

	if (o->type == MSGPACK_OBJECT_ARRAY)
		for (uint32_t i = 0; !bad && i < o->via.array.size; i++)
			bad = check_keys(in, &o->via.array.ptr[i], err);
	if (o->type == MSGPACK_OBJECT_MAP && o->via.map.size) {
		bad = check_map(in, &o->via.map, err);
		for (uint32_t i = 0; !bad && i < o->via.map.size; i++)
			bad = check_keys(in, &o->via.map.ptr[i].val, err);
	}
	return bad;
}

static int
unpack(struct rec_in *in, size_t length, struct err *err)
{
	msgpack_unpack_return got;
	size_t used = 0;

	msgpack_zone_clear(&in->zone);
	got = msgpack_unpack((const char *)in->buf + in->begin, length, &used, &in->zone, &in->rec);
	in->begin += length;
	in->count++;
	if (got != MSGPACK_UNPACK_SUCCESS || used != length)
		return err_set(err, "%s: record %lld: no msgpack", in->name, (long long)in->count);
	if (in->rec.type != MSGPACK_OBJECT_MAP)
		return err_set(err, "%s: record %lld: not a map", in->name, (long long)in->count);
	if (check_keys(in, &in->rec, err))
		return -1;
	if (!rec_get(in, "type") || rec_get(in, "type")->type != MSGPACK_OBJECT_STR)
		return err_set(err, "%s: record %lld: 'type' is missing, expected a string", in->name,
		               (long long)in->count);
	return 0;
}

int
rec_next(struct rec_in *in, struct err *err)
{
	size_t length;
	int got = gather(in, &length, err);

	if (got < 0)
		return -1;
	if (!got) {
		if (in->state == AFTER_END)
			return 0;
		if (in->state == BEFORE_HEADER)
			return err_set(err, "%s: stream truncated: it is empty, expected a header", in->name);
		return err_set(err, "%s: stream truncated after record %lld, expected an end record", in->name,
		               (long long)in->count);
	}
	if (in->state == AFTER_END)
		return err_set(err, "%s: record %lld follows the end record", in->name, (long long)in->count + 1);
	if (unpack(in, length, err))
		return -1;
	if (in->state == BEFORE_HEADER) {
		if (check_header(in, err))
			return -1;
		in->state = INSIDE;
	} else if (rec_is(in, "header")) {
		return rec_fault(in, err, "a second header");
	}
	if (rec_is(in, "end"))
		in->state = AFTER_END;
	return 1;
}

int
rec_last(struct rec_in *in, struct err *err)
{
	struct pollfd p = { .fd = in->fd, .events = POLLIN };

	if (in->end == in->begin && poll(&p, 1, 0) > 0 && (p.revents & POLLIN) && fill(in, err) < 0)
		return -1;
	return in->end == in->begin
	               ? 0
	               : err_set(err, "%s: record %lld follows the end record", in->name, (long long)in->count + 1);
}

int
object_is(const msgpack_object *o, const char *text)
{
	return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(text) &&
	       !memcmp(o->via.str.ptr, text, o->via.str.size);
}

const msgpack_object *
rec_get(const struct rec_in *in, const char *key)
{
	const msgpack_object_map *map = &in->rec.via.map;

	for (uint32_t i = 0; i < map->size; i++)
		if (object_is(&map->ptr[i].key, key))
			return &map->ptr[i].val;
	return NULL;
}

int
rec_is(const struct rec_in *in, const char *type)
{
	const msgpack_object *o = rec_get(in, "type");

	return o && object_is(o, type);
}

int
rec_fault(const struct rec_in *in, struct err *err, const char *fmt, ...)
{
	const msgpack_object *type = rec_get(in, "type");
	char words[sizeof err->text];
	va_list args;

	va_start(args, fmt);
	vsnprintf(words, sizeof words, fmt, args);
	va_end(args);
	return err_set(err, "%s: record %lld (%.*s): %s", in->name, (long long)in->count,
	               type->via.str.size < 32 ? (int)type->via.str.size : 32, type->via.str.ptr, words);
}

static int
out_of_range(const struct rec_in *in, const char *key, const char *found, int64_t low, int64_t high, struct err *err)
{
	if (low == high)
		return rec_fault(in, err, "'%s' is %s, expected %lld", key, found, (long long)low);
	return rec_fault(in, err, "'%s' is %s, expected %lld to %lld", key, found, (long long)low, (long long)high);
}

static int
missing(const struct rec_in *in, const char *key, const char *expected, struct err *err)
{
	return rec_fault(in, err,
	                 rec_get(in, key) ? "'%s' has another type, expected %s" : "'%s' is missing, expected %s", key,
	                 expected);
}

int
rec_int(const struct rec_in *in, const char *key, int64_t low, int64_t high, int64_t *out, struct err *err)
{
	const msgpack_object *o = rec_get(in, key);
	char found[24];

	if (!o || (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER && o->type != MSGPACK_OBJECT_NEGATIVE_INTEGER))
		return missing(in, key, "an integer", err);
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 > INT64_MAX) {
		snprintf(found, sizeof found, "%llu", (unsigned long long)o->via.u64);
		return out_of_range(in, key, found, low, high, err);
	}
	*out = o->via.i64;
	if (*out < low || *out > high) {
		snprintf(found, sizeof found, "%lld", (long long)*out);
		return out_of_range(in, key, found, low, high, err);
	}
	return 0;
}

int
rec_real(const struct rec_in *in, const char *key, double *out, struct err *err)
{
	const msgpack_object *o = rec_get(in, key);

	if (o && o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		*out = (double)o->via.u64;
	else if (o && o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*out = (double)o->via.i64;
	else if (o && (o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64))
		*out = o->via.f64;
	else
		return missing(in, key, "a number", err);
	return 0;
}

int
rec_text(const struct rec_in *in, const char *key, const char **out, size_t *n, struct err *err)
{
	const msgpack_object *o = rec_get(in, key);

	if (!o || o->type != MSGPACK_OBJECT_STR)
		return missing(in, key, "a string", err);
	if (!utf8_text(o->via.str.ptr, o->via.str.size))
		return rec_fault(in, err, "'%s' is not UTF-8 text", key);
	*out = o->via.str.size ? o->via.str.ptr : ""; /* msgpack-c has no pointer for it */
	*n = o->via.str.size;
	return 0;
}

static int
words4(const struct rec_in *in, const char *key, const char *expected, const void **out, size_t *n, struct err *err)
{
	const msgpack_object *o = rec_get(in, key);

	if (!o || o->type != MSGPACK_OBJECT_BIN)
		return missing(in, key, expected, err);
	if (o->via.bin.size % 4)
		return rec_fault(in, err, "'%s' has %u bytes, expected a multiple of 4", key, o->via.bin.size);
	*out = o->via.bin.ptr;
	*n = o->via.bin.size / 4;
	return 0;
}

int
rec_f32(const struct rec_in *in, const char *key, const void **out, size_t *n, struct err *err)
{
	return words4(in, key, "float32 values (bin)", out, n, err);
}

int
rec_i32(const struct rec_in *in, const char *key, const void **out, size_t *n, struct err *err)
{
	return words4(in, key, "int32 values (bin)", out, n, err);
}
