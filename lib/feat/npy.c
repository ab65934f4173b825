/*
 * numpy's arrays.
 */
#include "feat/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/half.h"
#include "sys/little.h"
#include "sys/utf8.h"

enum { HEADER_MOST = 1 << 14, ITEM_MOST = 4 * 512, CHUNK = 1 << 15 };
enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 }; /* what a header has to say */

static int
fault(const struct npy *a, struct err *err, const char *words)
{
	return err_set(err, "array '%s': %s", a->name, words);
}

/* The header's text: a Python dict of three entries. Each parser returns what is behind it, or NULL. */
static const char *
skip_spaces(const char *p)
{
	return p + strspn(p, " \n");
}

static const char *
take(const char *p, const char *words)
{
	size_t n = strlen(words);

	return p && !strncmp(p, words, n) ? skip_spaces(p + n) : NULL;
}

static const char *
take_string(char *out, size_t size, const char *p)
{
	const char *end = *p == '\'' || *p == '"' ? strchr(p + 1, *p) : NULL;

	if (!end || (size_t)(end - p) > size)
		return NULL;
	memcpy(out, p + 1, (size_t)(end - p) - 1);
	out[end - p - 1] = '\0';
	return skip_spaces(end + 1);
}

/* '<f4', '|u1', '<U12' … */
static const char *
take_descr(struct npy *a, const char *p)
{
	char text[16], *end;
	unsigned long n;

	p = take_string(text, sizeof text, p);
	if (!p || strlen(text) < 3 || !strchr("<|", text[0]) || text[2] < '0' || text[2] > '9')
		return NULL;
	a->type = text[1];
	n = strtoul(text + 2, &end, 10);
	if (*end || n > ITEM_MOST)
		return NULL;
	a->item = (int)n * (a->type == 'U' ? 4 : 1);
	return a->item <= ITEM_MOST ? p : NULL;
}

/* (), (36,), (36, 2048) */
static const char *
take_shape(struct npy *a, const char *p)
{
	p = take(p, "(");
	for (a->dims = 0, a->count = 1; p && *p >= '0' && *p <= '9'; a->dims++) {
		char *end;
		unsigned long long n = strtoull(p, &end, 10);

		if (a->dims == NPY_DIMS || (n && a->count > ((uint64_t)1 << 48) / n))
			return NULL;
		a->shape[a->dims] = n;
		a->count *= n;
		p = skip_spaces(end);
		if (*p != ')' && !(p = take(p, ",")))
			return NULL;
	}
	return take(p, ")");
}

static const char *
take_entry(struct npy *a, int *seen, const char *p)
{
	char key[16];
	int which;

	p = take_string(key, sizeof key, p);
	p = take(p, ":");
	which = !p                              ? 0
	        : !strcmp(key, "descr")         ? DESCR
	        : !strcmp(key, "fortran_order") ? ORDER
	        : !strcmp(key, "shape")         ? SHAPE
	                                        : 0;
	if (!which || *seen & which)
		return NULL;
	*seen |= which;
	if (which == DESCR)
		return take_descr(a, p);
	if (which == SHAPE)
		return take_shape(a, p);
	a->fortran = !strncmp(p, "True", 4);
	return take(p, a->fortran ? "True" : "False");
}

static int
parse_header(struct npy *a, const char *text, struct err *err)
{
	const char *p = take(skip_spaces(text), "{");
	size_t n = strlen(text);
	int seen = 0;
	char quote[160];

	while (p && *p != '}') {
		p = take_entry(a, &seen, p);
		if (p && *p != '}')
			p = take(p, ",");
	}
	p = take(p, "}");
	if (p && !*p && seen == ALL)
		return 0;
	while (n && strchr(" \n", text[n - 1]))
		n--;
	return err_set(err, "array '%s': a header of '%s', expected plain numbers or strings in at most %d dimensions",
	               a->name, utf8_quote(quote, sizeof quote, text, n), NPY_DIMS);
}

static int
read_header(struct npy *a, struct err *err)
{
	char text[HEADER_MOST + 1];
	uint8_t begin[8], length[4];
	size_t n, begins = sizeof begin;

	if (unzip_read(&a->in, begin, sizeof begin, err))
		return -1;
	if (memcmp(begin, "\x93NUMPY", 6) != 0 || begin[6] < 1 || begin[6] > 3)
		return fault(a, err, "no .npy of version 1 to 3");
	begins += begin[6] > 1 ? 4 : 2;
	if (unzip_read(&a->in, length, begin[6] > 1 ? 4 : 2, err))
		return -1;
	n = (size_t)little(length, begin[6] > 1 ? 4 : 2);
	if (n > HEADER_MOST)
		return fault(a, err, "its header is too long");
	if (unzip_read(&a->in, text, n, err))
		return -1;
	text[n] = '\0';
	if (strlen(text) != n)
		return fault(a, err, "its header has a NUL");
	if (parse_header(a, text, err))
		return -1;
	if (a->count * (uint64_t)a->item != a->in.entry->size - begins - n)
		return err_set(err, "array '%s': %llu bytes of data, expected %llu of %d bytes", a->name,
		               (unsigned long long)(a->in.entry->size - begins - n), (unsigned long long)a->count,
		               a->item);
	return 0;
}

int
npy_open(struct npy *a, const uint8_t *bytes, const struct zip_entry *entry, struct err *err)
{
	int n = (int)entry->name_n - 4; /* without .npy */

	memset(a, 0, sizeof *a);
	snprintf(a->name, sizeof a->name, "%.*s", n < 0 ? 0 : n, entry->name);
	return unzip_check(bytes, entry, err) || unzip_open(&a->in, bytes, entry, err) || read_header(a, err) ? -1 : 0;
}

void
npy_close(struct npy *a)
{
	unzip_close(&a->in);
}

int
npy_is_real(const struct npy *a)
{
	return a->type == 'f' && (a->item == 2 || a->item == 4 || a->item == 8);
}

int
npy_is_integer(const struct npy *a)
{
	return (a->type == 'i' || a->type == 'u') && (a->item == 1 || a->item == 2 || a->item == 4 || a->item == 8);
}

int
npy_is_text(const struct npy *a)
{
	return a->item && (a->type == 'U' || a->type == 'S');
}

static float
real_at(const uint8_t *p, int item)
{
	float x;
	double wide;

	if (item == 2)
		return half_to_float((uint16_t)little(p, 2));
	if (item == 4) {
		memcpy(&x, p, sizeof x);
		return x;
	}
	memcpy(&wide, p, sizeof wide);
	return (float)wide;
}

int
npy_read_floats(float *out, struct npy *a, size_t rows, size_t columns, int transposed, struct err *err)
{
	uint8_t chunk[CHUNK];
	size_t n = rows * columns, per = CHUNK / (size_t)a->item;

	if (a->item == sizeof *out && !transposed)
		return unzip_read(&a->in, out, n * sizeof *out, err);
	for (size_t i = 0; i < n; i += per) {
		size_t now = n - i < per ? n - i : per;

		if (unzip_read(&a->in, chunk, now * (size_t)a->item, err))
			return -1;
		for (size_t k = i; k < i + now; k++)
			out[transposed ? k % rows * columns + k / rows : k] =
				real_at(chunk + (k - i) * (size_t)a->item, a->item);
	}
	return 0;
}

int
npy_read_integer(int64_t *out, struct npy *a, struct err *err)
{
	uint8_t bytes[8];
	uint64_t value, sign = (uint64_t)1 << (8 * a->item - 1);

	if (unzip_read(&a->in, bytes, (size_t)a->item, err))
		return -1;
	value = little(bytes, a->item);
	if (a->type == 'i')
		*out = (int64_t)((value ^ sign) - sign);
	else
		*out = value > INT64_MAX ? INT64_MAX : (int64_t)value;
	return 0;
}

int
npy_read_text(char *out, size_t size, struct npy *a, struct err *err)
{
	uint8_t bytes[ITEM_MOST];
	size_t unit = a->type == 'U' ? 4 : 1, units = (size_t)a->item / unit, n = 0;

	out[0] = '\0';
	if (npy_is_integer(a)) {
		int64_t value;

		if (npy_read_integer(&value, a, err))
			return -1;
		snprintf(out, size, "%lld", (long long)value);
		return 0;
	}
	if (unzip_read(&a->in, bytes, (size_t)a->item, err))
		return -1;
	while (units && !little(bytes + (units - 1) * unit, (int)unit)) /* numpy fills up with NULs */
		units--;
	for (size_t i = 0; i < units; i++) {
		uint32_t c = (uint32_t)little(bytes + i * unit, (int)unit);
		int none = !c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000);
		char text[4] = { (char)c };
		size_t more = none || unit == 1 ? 1 : (size_t)utf8_put(text, (int32_t)c);

		if (none || n + more >= size) {
			out[0] = '\0';
			return 0;
		}
		memcpy(out + n, text, more);
		n += more;
	}
	out[n] = '\0';
	return 0;
}
