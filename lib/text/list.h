/*
 * A JSON array of objects, read element by element: the list is never held whole, and a pipe will do. The array may also be a
 * member of an object, as VQA's own files have it ({"info": …, "questions": […]}); the other members are kept in `around`.
 *
 * What the list has been told once it can read again: list_again() parses an entry by its place. A pipe is kept in a
 * temporary file without a name for that.
 *
 * Places in messages: "FILE:LINE: entry K (byte N): …", entries and lines from 1, bytes from 0, all of the entry's begin (no
 * line where an entry is read again); "FILE:LINE: byte N: …" beside the list.
 */
#ifndef VQA_TEXT_LIST_H
#define VQA_TEXT_LIST_H

#include <jansson.h>
#include <stdint.h>

#include "sys/err.h"

/* Bounds of one entry, and of all that is beside the list; what is bigger or deeper is an error. */
enum { ENTRY_MAX = 1 << 20, ENTRY_DEPTH_MAX = 32 };

/* An id is a whole number that every reader of JSON has exactly. */
#define ID_MAX (INT64_C(1) << 53)

struct list {
	int fd;
	int spool;  /* of a pipe: what was read so far; -1 when fd itself can be read again */
	char *name; /* for messages */
	char *buf;  /* read ahead: buf[begin, end) */
	size_t begin, end;
	int64_t at;      /* of buf[begin] in the file */
	int64_t line;    /* of buf[begin], from 1 */
	uint64_t hash;   /* FNV-1a of the bytes read, goes on from what list_open was given */
	int64_t entries; /* read so far */
	char *entry;     /* the bytes of the current entry */
	size_t entry_n, entry_size;
	int64_t entry_at, entry_line;
	const char *member; /* in an object the list is this member's; NULL: an array alone will do */
	json_t *around;     /* what came beside the list so far; NULL: the list is an array */
	size_t around_n;    /* bytes of it */
	enum { LIST_BEFORE, LIST_INSIDE, LIST_BESIDE, LIST_DONE } state;
};

/* path "-": stdin; member is kept. The caller closes after an error of list_next, too; not after one of list_open. */
int list_open(struct list *list, const char *path, const char *member, uint64_t hash, struct err *err);
void list_close(struct list *list);
/* The next entry, an object that the caller releases: 1; 0 after the last; -1: not JSON, too big, cut off, something behind. */
int list_next(struct list *list, json_t **entry, struct err *err);
/*
 * Entry `number` (from 1; 0: not known), of n bytes at `at`, once more, after the list was read to its end. NULL if it is no
 * longer there.
 */
json_t *list_again(struct list *list, int64_t number, int64_t at, size_t n, struct err *err);
/* A fault of the entry that list_next returned last. Returns -1. */
int list_fault(const struct list *list, struct err *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Fields of an entry, with list_fault's messages: "'sent' is missing, expected a string", "'sent' is 3, expected …".
 * *out of a string is the entry's own. An id is from -ID_MAX to ID_MAX.
 */
int list_id(const struct list *list, const json_t *entry, const char *key, int64_t *out, struct err *err);
/* A string, in which NULs may be; NULL in *out when it is absent and not `needed`. */
int list_text(const struct list *list, const json_t *entry, const char *key, int needed, const json_t **out,
              struct err *err);
/* The same without NUL. */
int list_string(const struct list *list, const json_t *entry, const char *key, int needed, const char **out,
                struct err *err);
/* For messages: the value in few words, "3", "'net'", "an array", "null". Returns out. */
const char *json_words(char *out, size_t size, const json_t *value);

#endif
