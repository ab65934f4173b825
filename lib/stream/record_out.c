/*
 * Writing records: a record's fields are packed into one buffer, and its head, which counts them, is written before it.
 */
#include "stream/record.h"

#include <string.h>
#include <unistd.h>

#include "sys/file.h"

/* What packs into a record need not look at every step: rec_send() tells that memory was wanting. */
static int
write_body(void *data, const char *bytes, size_t n)
{
	struct rec_out *out = data;

	if (msgpack_sbuffer_write(&out->body, bytes, n))
		out->bad = 1;
	return 0;
}

int
rec_create(struct rec_out *out, int fd, const char *name, struct err *err)
{
	(void)err;
	*out = (struct rec_out){ .fd = fd, .name = name };
	msgpack_sbuffer_init(&out->body);
	msgpack_packer_init(&out->pack, out, write_body);
	return 0;
}

void
rec_discard(struct rec_out *out)
{
	msgpack_sbuffer_destroy(&out->body);
}

void
rec_clear(struct rec_out *out)
{
	msgpack_sbuffer_clear(&out->body);
	out->fields = 0;
	out->bad = 0;
}

void
rec_begin(struct rec_out *out, const char *type)
{
	rec_clear(out);
	rec_put_text(out, "type", type, strlen(type));
}

msgpack_packer *
rec_put(struct rec_out *out, const char *key)
{
	size_t n = strlen(key);

	if (out->fields >= sizeof out->keys / sizeof *out->keys || n >= sizeof *out->keys)
		out->bad = 1;
	else
		memcpy(out->keys[out->fields], key, n + 1);
	out->fields++;
	msgpack_pack_str_with_body(&out->pack, key, n);
	return &out->pack;
}

void
rec_put_int(struct rec_out *out, const char *key, int64_t value)
{
	msgpack_pack_int64(rec_put(out, key), value);
}

void
rec_put_real(struct rec_out *out, const char *key, double value)
{
	msgpack_pack_double(rec_put(out, key), value);
}

void
rec_put_text(struct rec_out *out, const char *key, const char *text, size_t n)
{
	msgpack_pack_str_with_body(rec_put(out, key), text, n);
}

void
rec_put_bin(struct rec_out *out, const char *key, const void *data, size_t bytes)
{
	msgpack_pack_bin_with_body(rec_put(out, key), data, bytes);
}

static int
was_put(const struct rec_out *out, const msgpack_object *key, uint32_t own)
{
	for (uint32_t i = 0; i < own; i++)
		if (object_is(key, out->keys[i]))
			return 1;
	return 0;
}

void
rec_keep(struct rec_out *out, const struct rec_in *in)
{
	const msgpack_object_map *map = &in->rec.via.map;
	uint32_t own = out->fields;

	if (out->bad)
		return;
	for (uint32_t i = 0; i < map->size; i++) {
		if (was_put(out, &map->ptr[i].key, own))
			continue;
		msgpack_pack_object(&out->pack, map->ptr[i].key);
		msgpack_pack_object(&out->pack, map->ptr[i].val);
		out->fields++;
	}
}

int
rec_send(struct rec_out *out, struct err *err)
{
	uint8_t head[5] = { 0xdf, (uint8_t)(out->fields >> 24), (uint8_t)(out->fields >> 16),
		            (uint8_t)(out->fields >> 8), (uint8_t)out->fields };
	size_t n = sizeof head;

	if (out->bad)
		return err_set(err, "%s: out of memory for a record", out->name);
	if (out->body.size + sizeof head > RECORD_MAX)
		return err_set(err, "%s: a record of %zu bytes, the most is %d", out->name, out->body.size, RECORD_MAX);
	/* The shortest form: msgpack has three. */
	if (out->fields < 16) {
		head[0] = (uint8_t)(0x80 | out->fields);
		n = 1;
	} else if (out->fields < 1 << 16) {
		head[0] = 0xde;
		memmove(head + 1, head + 3, 2);
		n = 3;
	}
	return write_fully(out->fd, head, n, out->name, err) ||
	                       write_fully(out->fd, out->body.data, out->body.size, out->name, err)
	               ? -1
	               : 0;
}

int
rec_pass(struct rec_out *out, const struct rec_in *in, struct err *err)
{
	rec_clear(out);
	rec_keep(out, in);
	return rec_send(out, err);
}

int
rec_end(struct rec_out *out, const struct rec_in *in, int64_t questions, struct err *err)
{
	rec_begin(out, "end");
	rec_put_int(out, "questions", questions);
	if (in)
		rec_keep(out, in);
	if (rec_send(out, err))
		return -1;
	msgpack_sbuffer_destroy(&out->body);
	if (close(out->fd))
		return err_sys(err, "%s: cannot write", out->name);
	return 0;
}
