/*
 * Zip archives: the directory is read from the file's end, and each entry's header is checked against it.
 */
#include "sys/zip.h"

#include <stdlib.h>
#include <string.h>

#include "sys/little.h"
#include "sys/utf8.h"

enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR64 = 20 };
enum { COMMENT_MOST = 0xffff, ENCRYPTED = 1, NAME_MOST = 1024 };
#define ABSENT 0xffffffff /* a 32-bit field whose value is in the zip64 extra field */

/* The directory, from the records at the end. */
struct directory {
	uint64_t n, at, bytes;
};

static int
is(const uint8_t *bytes, const char *signature)
{
	return !memcmp(bytes, signature, 4);
}

/* Where the end record begins: it is the last thing, but for a comment whose length it says. */
static int
find_end(size_t *end, const uint8_t *bytes, size_t size, struct err *err)
{
	for (size_t comment = 0; comment <= COMMENT_MOST && comment + END <= size; comment++) {
		*end = size - END - comment;
		if (is(bytes + *end, "PK\5\6") && little(bytes + *end + 20, 2) == comment)
			return 0;
	}
	err_set(err, "a zip archive without its end: is the file cut?");
	return -1;
}

static int
read_end64(struct directory *dir, const uint8_t *bytes, size_t locator, struct err *err)
{
	uint64_t at = little(bytes + locator + 8, 8);

	if (locator < END64 || at > locator - END64 || !is(bytes + at, "PK\6\6"))
		return err_set(err, "byte %zu: no zip64 end where its locator says, at byte %llu", locator,
		               (unsigned long long)at);
	*dir = (struct directory){ little(bytes + at + 32, 8), little(bytes + at + 48, 8), little(bytes + at + 40, 8) };
	return 0;
}

static int
read_end(struct directory *dir, const uint8_t *bytes, size_t size, struct err *err)
{
	size_t end = 0;

	if (find_end(&end, bytes, size, err))
		return -1;
	if (end >= LOCATOR64 && is(bytes + end - LOCATOR64, "PK\6\7")) {
		if (read_end64(dir, bytes, end - LOCATOR64, err))
			return -1;
	} else {
		*dir = (struct directory){ little(bytes + end + 10, 2), little(bytes + end + 16, 4),
			                   little(bytes + end + 12, 4) };
	}
	if (dir->at > end || dir->bytes > end - dir->at || dir->n > dir->bytes / CENTRAL)
		return err_set(err, "the zip directory (%llu entries in %llu bytes at byte %llu) does not fit the file",
		               (unsigned long long)dir->n, (unsigned long long)dir->bytes, (unsigned long long)dir->at);
	return 0;
}

/* A name for messages. */
static const char *
quoted(char out[128], const struct zip_entry *entry)
{
	return utf8_quote(out, 128, entry->name, entry->name_n);
}

/* The 64-bit values of those of three fields that are absent, from the extra field with id 1. */
static int
read_extra64(uint64_t *fields[3], const uint8_t *extra, size_t n)
{
	for (size_t at = 0; at + 4 <= n;) {
		size_t id = little(extra + at, 2), length = little(extra + at + 2, 2);

		at += 4;
		if (length > n - at)
			return -1;
		for (int i = 0; id == 1 && i < 3; i++) {
			if (*fields[i] != ABSENT)
				continue;
			if (length < 8)
				return -1;
			*fields[i] = little(extra + at, 8);
			at += 8;
			length -= 8;
		}
		if (id == 1)
			return 0;
		at += length;
	}
	return 0;
}

/* The local header at `header`, which says where the data begin; the name must be the directory's. */
static int
read_local(struct zip_entry *entry, uint64_t header, uint64_t n, const uint8_t *bytes, uint64_t end, struct err *err)
{
	char name[128];
	uint64_t skip;

	if (end < LOCAL || header > end - LOCAL || !is(bytes + header, "PK\3\4"))
		return err_set(err, "entry '%s': no header where the zip directory says, at byte %llu",
		               quoted(name, entry), (unsigned long long)header);
	skip = LOCAL + little(bytes + header + 26, 2) + little(bytes + header + 28, 2);
	if (skip > end - header || n > end - header - skip)
		return err_set(err, "entry '%s': its %llu bytes from byte %llu end past the data", quoted(name, entry),
		               (unsigned long long)n, (unsigned long long)(header + skip));
	if (little(bytes + header + 26, 2) != entry->name_n ||
	    memcmp(bytes + header + LOCAL, entry->name, entry->name_n) != 0)
		return err_set(err, "entry '%s': its header at byte %llu has another name", quoted(name, entry),
		               (unsigned long long)header);
	entry->header = header;
	entry->at = header + skip;
	entry->n = n;
	return 0;
}

/* The record at *at of the directory; *at becomes the next one's. */
static int
read_entry(struct zip_entry *entry, uint64_t *at, const uint8_t *bytes, const struct directory *dir, struct err *err)
{
	const uint8_t *record = bytes + *at;
	uint64_t left = dir->at + dir->bytes - *at, packed, size, header, skip, extra;
	uint64_t *fields[] = { &size, &packed, &header };
	char name[128];

	if (left < CENTRAL || !is(record, "PK\1\2"))
		return err_set(err, "byte %llu: no record of the zip directory", (unsigned long long)*at);
	entry->flags = (int)little(record + 8, 2);
	entry->method = (int)little(record + 10, 2);
	entry->crc = (uint32_t)little(record + 16, 4);
	packed = little(record + 20, 4);
	size = little(record + 24, 4);
	entry->name_n = little(record + 28, 2);
	extra = little(record + 30, 2);
	header = little(record + 42, 4);
	skip = CENTRAL + entry->name_n + extra + little(record + 32, 2);
	if (skip > left || entry->name_n > NAME_MOST)
		return err_set(err, "byte %llu: a record of the zip directory ends past it", (unsigned long long)*at);
	entry->name = (const char *)record + CENTRAL;
	if (read_extra64(fields, record + CENTRAL + entry->name_n, extra))
		return err_set(err, "byte %llu: a record of the zip directory has a broken extra field",
		               (unsigned long long)*at);
	*at += skip;
	entry->size = size;
	if (!entry->method && packed != size)
		return err_set(err, "entry '%s' is stored, but its %llu bytes are to become %llu", quoted(name, entry),
		               (unsigned long long)packed, (unsigned long long)size);
	return read_local(entry, header, packed, bytes, dir->at, err);
}

static int
compare(const char *a, size_t a_n, const char *b, size_t b_n)
{
	int order = memcmp(a, b, a_n < b_n ? a_n : b_n);

	return order ? order : (a_n > b_n) - (a_n < b_n);
}

static int
by_name(const void *a, const void *b)
{
	const struct zip_entry *x = a, *y = b;

	return compare(x->name, x->name_n, y->name, y->name_n);
}

static int
by_place(const void *a, const void *b)
{
	const struct zip_entry *x = a, *y = b;

	return (x->header > y->header) - (x->header < y->header);
}

static int
check_entries(struct zip *zip, struct err *err)
{
	char a[128], b[128];

	qsort(zip->list, zip->n, sizeof *zip->list, by_place);
	for (size_t i = 1; i < zip->n; i++)
		if (zip->list[i].header < zip->list[i - 1].at + zip->list[i - 1].n)
			return err_set(err, "entry '%s' overlaps the one before it, '%s'", quoted(b, &zip->list[i]),
			               quoted(a, &zip->list[i - 1]));
	qsort(zip->list, zip->n, sizeof *zip->list, by_name);
	for (size_t i = 1; i < zip->n; i++)
		if (!by_name(&zip->list[i - 1], &zip->list[i]))
			return err_set(err, "entry '%s' is there twice", quoted(a, &zip->list[i]));
	return 0;
}

int
zip_open(struct zip *zip, const uint8_t *bytes, size_t size, struct err *err)
{
	struct directory dir = { 0 };
	uint64_t at;
	int bad = 0;

	*zip = (struct zip){ 0 };
	if (read_end(&dir, bytes, size, err))
		return -1;
	zip->list = calloc(dir.n + 1, sizeof *zip->list);
	if (!zip->list)
		return err_set(err, "out of memory for %llu zip entries", (unsigned long long)dir.n);
	at = dir.at;
	for (; !bad && zip->n < dir.n; zip->n++)
		bad = read_entry(&zip->list[zip->n], &at, bytes, &dir, err);
	if (!bad && !zip->n)
		bad = err_set(err, "a zip archive without entries");
	if (!bad) {
		const char *slash = memchr(zip->list->name, '/', zip->list->name_n);

		zip->folder = zip->list->name;
		zip->folder_n = slash ? (size_t)(slash - zip->folder) : 0;
		bad = check_entries(zip, err);
	}
	if (bad)
		zip_close(zip);
	return bad;
}

void
zip_close(struct zip *zip)
{
	free(zip->list);
	*zip = (struct zip){ 0 };
}

const struct zip_entry *
zip_find(const struct zip *zip, const char *name, size_t name_n)
{
	struct zip_entry key = { .name = name, .name_n = name_n };

	return bsearch(&key, zip->list, zip->n, sizeof *zip->list, by_name);
}

int
zip_check_stored(const struct zip_entry *entry, struct err *err)
{
	char name[128];

	if (entry->flags & ENCRYPTED)
		return err_set(err, "entry '%s' is encrypted", quoted(name, entry));
	if (entry->method)
		return err_set(err, "entry '%s' is compressed (method %d), expected stored, as torch.save writes it",
		               quoted(name, entry), entry->method);
	return 0;
}
