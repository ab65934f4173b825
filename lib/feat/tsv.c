/*
 * Rows of the reference's feature table.
 */
#include "feat/tsv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sys/base64.h"
#include "sys/floats.h"
#include "sys/opt.h"

enum { ID, HEIGHT, WIDTH, OBJECTS_ID, OBJECTS_CONF, ATTRS_ID, ATTRS_CONF, BOXES_N, BOXES, FEATURES, COLUMNS };

static const char *const names[COLUMNS] = { "img_id",   "img_h",      "img_w",     "objects_id", "objects_conf",
	                                    "attrs_id", "attrs_conf", "num_boxes", "boxes",      "features" };

struct column {
	const char *text;
	size_t n, at; /* bytes, and where in the row */
};

static int
split(struct column columns[COLUMNS], const char *row, size_t n, const char *where, struct err *err)
{
	int count = 0;

	for (size_t from = 0; from <= n; count++) {
		const char *tab = memchr(row + from, '\t', n - from);
		size_t end = tab ? (size_t)(tab - row) : n;

		if (count < COLUMNS)
			columns[count] = (struct column){ row + from, end - from, from };
		from = end + 1;
	}
	if (count != COLUMNS)
		return err_set(err, "%s: %d columns, expected %d", where, count, COLUMNS);
	return 0;
}

/* "FILE:LINE: byte N, image 'ID', column: " before the words. */
static int
fault(struct err *err, const char *where, const struct column columns[COLUMNS], int column, size_t at,
      const char *words)
{
	return err_set(err, "%s: byte %zu, image '%.*s', %s: %s", where, columns[column].at + at,
	               (int)(columns[ID].n < 80 ? columns[ID].n : 80), columns[ID].text, names[column], words);
}

static int
get_number(int64_t *out, const struct column columns[COLUMNS], int column, int64_t high, const char *where,
           struct err *err)
{
	char text[24], words[128];
	const struct column *c = &columns[column];

	size_t n =
		c->n < sizeof text ? c->n : sizeof text - 1; /* what is too long is no number, and cut in the message */

	memcpy(text, c->text, n);
	text[n] = '\0';
	if (c->n < sizeof text && !parse_int(text, 1, high, out))
		return 0;
	snprintf(words, sizeof words, "'%s' is no whole number from 1 to %lld", text, (long long)high);
	return fault(err, where, columns, column, 0, words);
}

/* The column's bytes, which have to be n of them. */
static int
get_bytes(void *out, size_t n, const struct column columns[COLUMNS], int column, const char *where, struct err *err)
{
	const struct column *c = &columns[column];
	char words[160];
	size_t at;

	if (c->n != base64_length(n)) {
		snprintf(words, sizeof words, "%zu characters of base64, expected %zu for %zu bytes", c->n,
		         base64_length(n), n);
		return fault(err, where, columns, column, 0, words);
	}
	if (base64_bytes(c->text, c->n) != n) {
		snprintf(words, sizeof words, "base64 of %zu bytes, expected %zu", base64_bytes(c->text, c->n), n);
		return fault(err, where, columns, column, 0, words);
	}
	if (base64_decode(out, c->text, c->n, &at) == (long)n)
		return 0;
	snprintf(words, sizeof words, "character 0x%02x is no base64", (unsigned char)c->text[at]);
	return fault(err, where, columns, column, at, words);
}

static int
share_boxes(struct features *f, const struct column columns[COLUMNS], const char *where, struct err *err)
{
	struct err words;

	return features_share_boxes(f, &words) ? fault(err, where, columns, BOXES, 0, words.text) : 0;
}

/* The character of a column at which number i of 4 bytes begins. */
static size_t
character_of(size_t i)
{
	return base64_length(i * 4 / 3 * 3);
}

size_t
tsv_feature_byte(const char *row, size_t n, size_t i)
{
	const char *tab = memrchr(row, '\t', n);

	return (size_t)(tab + 1 - row) + character_of(i);
}

static int
check_features(const struct features *f, const struct column columns[COLUMNS], const char *where, struct err *err)
{
	size_t n = (size_t)f->n * (size_t)f->columns, i = first_not_finite(f->features, n);
	char words[160];

	if (i == n)
		return 0;
	snprintf(words, sizeof words, "region %zu, number %zu is %g, expected a finite number", i / (size_t)f->columns,
	         i % (size_t)f->columns, (double)((const float *)f->features)[i]);
	return fault(err, where, columns, FEATURES, character_of(i), words);
}

static int
get_arrays(struct features *f, const struct column columns[COLUMNS], const char *where, struct err *err)
{
	size_t R = (size_t)f->n;
	int64_t *unused = malloc(R * sizeof *unused);
	int bad = !unused ? err_set(err, "%s: out of memory", where) : 0;

	/* Of objects and attributes nothing is used, but what is broken there is broken. */
	for (int c = OBJECTS_ID; !bad && c <= ATTRS_CONF; c++)
		bad = get_bytes(unused, R * (c == OBJECTS_ID || c == ATTRS_ID ? 8 : 4), columns, c, where, err);
	free(unused);
	return bad || get_bytes(f->boxes, R * 4 * sizeof(float), columns, BOXES, where, err) ||
	                       get_bytes(f->features, features_bytes(f), columns, FEATURES, where, err)
	               ? -1
	               : 0;
}

int
tsv_parse(struct features *f, const char *row, size_t n, const char *where, struct err *err)
{
	struct column columns[COLUMNS];
	int64_t regions;
	size_t bytes, width;

	if (split(columns, row, n, where, err))
		return -1;
	if (!columns[ID].n || columns[ID].n >= sizeof f->id || memchr(columns[ID].text, '\0', columns[ID].n))
		return err_set(err, "%s: img_id has %zu bytes, expected 1 to %zu without NUL", where, columns[ID].n,
		               sizeof f->id - 1);
	if (get_number(&f->height, columns, HEIGHT, 1 << 24, where, err) ||
	    get_number(&f->width, columns, WIDTH, 1 << 24, where, err) ||
	    get_number(&regions, columns, BOXES_N, FEATURES_REGIONS, where, err))
		return -1;
	/* How many numbers a region has follows from the column's length; what is no multiple is found when it is decoded. */
	bytes = columns[FEATURES].n / 4 * 3;
	width = (bytes + 2) / ((size_t)regions * 4);
	while (width && base64_length(width * (size_t)regions * 4) > columns[FEATURES].n)
		width--;
	if (!width || width > FEATURES_WIDTH)
		return fault(err, where, columns, FEATURES, 0, "too short or too long for its regions");
	if (features_room(f, (int)regions, (int)width, 0, err) || get_arrays(f, columns, where, err))
		return -1;
	memcpy(f->id, columns[ID].text, columns[ID].n);
	f->id[columns[ID].n] = '\0';
	return share_boxes(f, columns, where, err) || check_features(f, columns, where, err) ? -1 : 0;
}

static int
put_array(FILE *out, const void *data, size_t n, char after)
{
	size_t length = base64_length(n);
	char *text = malloc(length + 1);
	int bad;

	if (!text)
		return -1;
	base64_encode(text, data, n);
	text[length] = after;
	bad = fwrite(text, 1, length + 1, out) != length + 1;
	free(text);
	return bad;
}

int
tsv_write(FILE *out, const struct features *f, struct err *err)
{
	size_t R = (size_t)f->n;
	int64_t *zeros = calloc(R, sizeof *zeros);
	float *pixels = malloc(R * 4 * sizeof *pixels);
	int bad = !zeros || !pixels;

	for (size_t i = 0; !bad && i < 4 * R; i++)
		pixels[i] = f->boxes[i] * (float)(i % 2 ? f->height : f->width);
	bad = bad || fprintf(out, "%s\t%lld\t%lld\t", f->id, (long long)f->height, (long long)f->width) < 0;
	for (int c = OBJECTS_ID; !bad && c <= ATTRS_CONF; c++)
		bad = put_array(out, zeros, R * (c == OBJECTS_ID || c == ATTRS_ID ? 8 : 4), '\t');
	bad = bad || fprintf(out, "%d\t", f->n) < 0 || put_array(out, pixels, R * 4 * sizeof *pixels, '\t') ||
	      put_array(out, f->features, features_bytes(f), '\n');
	free(zeros);
	free(pixels);
	return bad ? err_sys(err, "stdout: cannot write") : 0;
}
