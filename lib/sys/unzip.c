/*
 * Entries unpacked, by zlib.
 */
#include "sys/unzip.h"

#include <stdio.h>
#include <string.h>

#include "sys/utf8.h"

enum { ENCRYPTED = 1, STORED = 0, DEFLATED = 8 };

static int
fault(const struct unzip *in, struct err *err, const char *words)
{
	char name[128];

	return err_set(err, "entry '%s': %s", utf8_quote(name, sizeof name, in->entry->name, in->entry->name_n), words);
}

int
unzip_open(struct unzip *in, const uint8_t *bytes, const struct zip_entry *entry, struct err *err)
{
	char words[80];

	*in = (struct unzip){ .entry = entry, .data = bytes + entry->at };
	if (entry->flags & ENCRYPTED)
		return fault(in, err, "is encrypted");
	if (entry->method == STORED)
		return 0;
	if (entry->method != DEFLATED) {
		snprintf(words, sizeof words, "is compressed by method %d, expected 0 (stored) or 8 (deflated)",
		         entry->method);
		return fault(in, err, words);
	}
	if (inflateInit2(&in->stream, -MAX_WBITS) != Z_OK)
		return fault(in, err, "out of memory to unpack it");
	in->deflated = 1;
	return 0;
}

/* zlib counts in unsigned int. */
static uInt
part(uint64_t n)
{
	return n > 1 << 30 ? 1 << 30 : (uInt)n;
}

static int
inflate_bytes(struct unzip *in, uint8_t *out, size_t n, struct err *err)
{
	z_stream *z = &in->stream;

	while (n) {
		uint64_t used = z->next_in ? (uint64_t)(z->next_in - in->data) : 0;
		uInt want = part(n);
		int code;

		z->next_in = (Bytef *)(uintptr_t)(in->data + used);
		z->avail_in = part(in->entry->n - used);
		z->next_out = out;
		z->avail_out = want;
		code = inflate(z, Z_NO_FLUSH);
		out += want - z->avail_out;
		n -= want - z->avail_out;
		if (n && code == Z_STREAM_END)
			return fault(in, err, "its compressed data end too early");
		if (code != Z_OK && code != Z_STREAM_END)
			return fault(in, err, "its compressed data are damaged");
	}
	return 0;
}

int
unzip_read(struct unzip *in, void *out, size_t n, struct err *err)
{
	if (n > in->entry->size - in->done)
		return fault(in, err, "ends too early");
	if (in->deflated) {
		if (inflate_bytes(in, out, n, err))
			return -1;
	} else {
		memcpy(out, in->data + in->done, n);
	}
	in->done += n;
	in->crc = (uint32_t)crc32_z(in->crc, out, n);
	return 0;
}

int
unzip_end(struct unzip *in, struct err *err)
{
	if (in->done != in->entry->size)
		return fault(in, err, "has bytes behind its data");
	if (in->crc != in->entry->crc)
		return fault(in, err, "its checksum does not match");
	return 0;
}

void
unzip_close(struct unzip *in)
{
	if (in->deflated)
		inflateEnd(&in->stream);
	in->deflated = 0;
}

int
unzip_check(const uint8_t *bytes, const struct zip_entry *entry, struct err *err)
{
	uint8_t chunk[1 << 15];
	struct unzip in;
	int bad = unzip_open(&in, bytes, entry, err);

	for (uint64_t left = entry->size; !bad && left;) {
		size_t n = left < sizeof chunk ? (size_t)left : sizeof chunk;

		bad = unzip_read(&in, chunk, n, err);
		left -= n;
	}
	bad = bad || unzip_end(&in, err) ? -1 : 0;
	unzip_close(&in);
	return bad;
}
