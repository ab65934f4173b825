/*
 * A stream of records: msgpack maps, each with "type"; first a header, last an end (vqa-stream(5)).
 *
 * Ownership: a record belongs to its reader and is valid until the next rec_next() of that reader that returns 1, so the end
 * record stays; nothing that is read out of it is copied. A writer owns its buffer; rec_send() writes the record and empties it.
 *
 * A reader never trusts the bytes: a record's length, objects and depth are counted before it is unpacked, and a record
 * over RECORD_MAX bytes, OBJECTS_MAX objects or DEPTH_MAX levels is an error.
 */
#ifndef VQA_STREAM_RECORD_H
#define VQA_STREAM_RECORD_H

#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

/* Tensors in records are little endian, and read and written as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a little-endian machine");

enum { RECORD_MAX = 64 << 20, OBJECTS_MAX = 1 << 20, DEPTH_MAX = 16 };

struct rec_in {
	int fd;
	const char *name; /* of the file, for messages; "stdin" */
	uint8_t *buf;     /* bytes read and not yet consumed: buf[begin, end) */
	size_t begin, end, size;
	int64_t count; /* records read so far */
	int state;     /* nothing read yet, inside, after the end record */
	msgpack_zone zone;
	msgpack_object rec; /* the current record, a map */
};

struct rec_out {
	int fd;
	const char *name;
	msgpack_sbuffer body; /* the fields of the record being made */
	msgpack_packer pack;
	uint32_t fields;
	int bad;           /* a field could not be packed: told by rec_send() */
	char keys[32][32]; /* their names, so that rec_keep() leaves them out */
};

/* name is for messages, and is kept. */
int rec_open(struct rec_in *in, int fd, const char *name, struct err *err);
void rec_close(struct rec_in *in);
/*
 * The next record: 1, and in->rec holds it; 0 after the end record (which is returned as a record first, and after
 * which only end of file may follow); -1 on any fault: "stdin: record 3: …", "stdin: stream truncated …". The first
 * record must be a header with vqa 1.
 */
int rec_next(struct rec_in *in, struct err *err);

/*
 * After the end record, for a program whose neighbours wait for it before they close their pipes: whatever has come after it
 * is a fault, as in rec_next(), but nothing is waited for.
 */
int rec_last(struct rec_in *in, struct err *err);

/* Whether the current record is of this type. */
int rec_is(const struct rec_in *in, const char *type);
/* Whether a value is this string. */
int object_is(const msgpack_object *o, const char *text);
/* The value under key, or NULL. */
const msgpack_object *rec_get(const struct rec_in *in, const char *key);
/* Required fields: -1 with "stdin: record 3 (question): 'id' is missing, expected an integer". */
int rec_int(const struct rec_in *in, const char *key, int64_t low, int64_t high, int64_t *out, struct err *err);
int rec_real(const struct rec_in *in, const char *key, double *out, struct err *err);
/* Not terminated: (*out, *n). Strings are checked to be UTF-8 without NUL. */
int rec_text(const struct rec_in *in, const char *key, const char **out, size_t *n, struct err *err);
/* A bin field of whole 4-byte elements; *out may be unaligned: use memcpy. n is the count of elements. */
int rec_f32(const struct rec_in *in, const char *key, const void **out, size_t *n, struct err *err);
int rec_i32(const struct rec_in *in, const char *key, const void **out, size_t *n, struct err *err);
/* A fault of the current record, told with its place: "stdin: record 3 (question): " fmt. Returns -1. */
int rec_fault(const struct rec_in *in, struct err *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* out must not be moved afterwards: its packer knows where it is. */
int rec_create(struct rec_out *out, int fd, const char *name, struct err *err);
void rec_discard(struct rec_out *out);
/* Begin a record of this type; then its fields in any order; then rec_keep() if it extends one; then rec_send(). */
void rec_begin(struct rec_out *out, const char *type);
/* Begin a record that brings its own "type": by rec_keep(), or by the caller's packing (fields, bad). */
void rec_clear(struct rec_out *out);
void rec_put_int(struct rec_out *out, const char *key, int64_t value);
void rec_put_real(struct rec_out *out, const char *key, double value);
void rec_put_text(struct rec_out *out, const char *key, const char *text, size_t n);
void rec_put_bin(struct rec_out *out, const char *key, const void *data, size_t bytes);
/* At most 32 fields with keys below 32 bytes can be put. For nested values: writes the key; exactly one value must follow through out->pack. */
msgpack_packer *rec_put(struct rec_out *out, const char *key);
/* Copy the fields of the reader's current record that have not been put, unknown ones too. */
void rec_keep(struct rec_out *out, const struct rec_in *in);
/* Write the record. EPIPE comes back as an error like any other; the caller decides on SIGPIPE. */
int rec_send(struct rec_out *out, struct err *err);
/* Pass the reader's current record on untouched. */
int rec_pass(struct rec_out *out, const struct rec_in *in, struct err *err);
/*
 * {"type":"end","questions":n}, with what else in's end record says (in may be NULL), and close(fd): the last act; a full disk is
 * an error.
 */
int rec_end(struct rec_out *out, const struct rec_in *in, int64_t questions, struct err *err);

#endif
