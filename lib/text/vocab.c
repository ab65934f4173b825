/*
 * The vocabulary file, its hash, and the table from piece to id.
 */
#include "text/vocab.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/hash.h"
#include "sys/utf8.h"

enum { VOCAB_MAX = 64 << 20 };

static const char vocab_name[] = "bert-base-uncased-vocab.txt";

static int
vocab_find(char path[PATH_MAX], struct err *err)
{
	static const char *const places[] = { "../share/vqa", "../lib/text", "../../../lib/text" };
	const char *set = getenv("VQA_VOCAB");
	char exe[PATH_MAX];
	char *slash;
	ssize_t n;

	if (set && *set) {
		if (strlen(set) >= PATH_MAX)
			return err_set(err, "VQA_VOCAB: path of %zu bytes, expected fewer than %d", strlen(set),
			               PATH_MAX);
		memcpy(path, set, strlen(set) + 1);
		return 0;
	}
	n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	if (n < 0)
		return err_sys(err, "/proc/self/exe");
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (!slash)
		return err_set(err, "'%s': no folder in the program's path", exe);
	*slash = 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (snprintf(path, PATH_MAX, "%s/%s/%s", exe, places[i], vocab_name) < PATH_MAX &&
		    access(path, F_OK) == 0)
			return 0;
	return err_set(err, "%s: neither in %s/../share/vqa nor in %s/../lib/text; VQA_VOCAB or -V can name it",
	               vocab_name, exe, exe);
}

/* The slot that holds this piece, or the empty one where it belongs. */
static uint32_t
vocab_slot(const struct vocab *v, const char *piece, size_t n)
{
	uint32_t at = (uint32_t)fnv1a(FNV_BEGIN, piece, n) & v->mask;

	for (;; at = (at + 1) & v->mask) {
		uint32_t id = v->slots[at];
		size_t have;

		if (id == 0)
			return at;
		have = v->starts[id] - v->starts[id - 1] - 1;
		if (have == n && memcmp(v->bytes + v->starts[id - 1], piece, n) == 0)
			return at;
	}
}

int32_t
vocab_id(const struct vocab *v, const char *piece, size_t n)
{
	return n > v->longest ? -1 : (int32_t)v->slots[vocab_slot(v, piece, n)] - 1;
}

static int
vocab_index(struct vocab *v, const char *path, struct err *err)
{
	uint32_t slots = 64;
	size_t lines = 0, bad;
	char *end;

	if (v->size == 0)
		return err_set(err, "%s: empty, expected a piece a line", path);
	if (!utf8_valid(v->bytes, v->size, &bad))
		return err_set(err, "%s: byte %zu: not UTF-8, expected a piece a line", path, bad);
	if (v->bytes[v->size - 1] != '\n')
		v->bytes[v->size++] = '\n';
	for (char *p = v->bytes; p < v->bytes + v->size; p++)
		lines += *p == '\n';
	while (slots < 2 * lines)
		slots *= 2;
	v->starts = calloc(lines + 1, sizeof *v->starts);
	v->slots = calloc(slots, sizeof *v->slots);
	if (!v->starts || !v->slots)
		return err_set(err, "%s: out of memory", path);
	v->mask = slots - 1;
	for (char *p = v->bytes; p < v->bytes + v->size; p = end + 1) {
		size_t n;
		uint32_t at;

		end = memchr(p, '\n', (size_t)(v->bytes + v->size - p));
		n = (size_t)(end - p);
		if (n == 0)
			return err_set(err, "%s:%d: empty line, expected a piece", path, v->count + 1);
		at = vocab_slot(v, p, n);
		if (v->slots[at]) {
			char quote[64];

			return err_set(err, "%s:%d: '%s' is there twice, first on line %u", path, v->count + 1,
			               utf8_quote(quote, sizeof quote, p, n), v->slots[at]);
		}
		v->slots[at] = (uint32_t)++v->count;
		v->starts[v->count] = (uint32_t)(end + 1 - v->bytes);
		if (n > v->longest)
			v->longest = n;
	}
	return 0;
}

static int
vocab_need(const struct vocab *v, const char *path, const char *piece, int32_t *id, struct err *err)
{
	*id = vocab_id(v, piece, strlen(piece));
	return *id < 0 ? err_set(err, "%s: no '%s' among its %d pieces", path, piece, v->count) : 0;
}

int
vocab_open(struct vocab *v, const char *path, struct err *err)
{
	char found[PATH_MAX];

	*v = (struct vocab){ 0 };
	if (!path) {
		if (vocab_find(found, err))
			return -1;
		path = found;
	}
	if (file_read(&v->bytes, &v->size, path, VOCAB_MAX, "a vocabulary", err))
		goto fail;
	snprintf(v->hash, sizeof v->hash, "%016llx", (unsigned long long)fnv1a(FNV_BEGIN, v->bytes, v->size));
	if (vocab_index(v, path, err) || vocab_need(v, path, "[UNK]", &v->unk, err) ||
	    vocab_need(v, path, "[CLS]", &v->cls, err) || vocab_need(v, path, "[SEP]", &v->sep, err))
		goto fail;
	return 0;
fail:
	vocab_close(v);
	return -1;
}

void
vocab_close(struct vocab *v)
{
	free(v->bytes);
	free(v->starts);
	free(v->slots);
	*v = (struct vocab){ 0 };
}
