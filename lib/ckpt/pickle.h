/*
 * A reader of pickles that knows what a state dict needs and runs nothing: values, containers, and the few globals that torch.save
 * writes for tensors. A call of one of these is kept as its arguments; an opcode or a global beyond them is an error that names it
 * and the byte.
 *
 * Values, the cells of containers, the stack and the memo are arrays of the pickle's own. An opcode, which is a byte at least, makes
 * one value at most, and a cell for each value that it takes off the stack; so memory is bounded by the pickle's length, which is
 * PICKLE_MOST at most, and no number in it is trusted. Containers may be shared and may hold themselves: nothing here follows
 * them, and whoever does says how deep.
 */
#ifndef VQA_CKPT_PICKLE_H
#define VQA_CKPT_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "ckpt/image.h"

enum { PICKLE_MOST = 8 << 20 };

enum kind {
	KIND_NONE,
	KIND_BOOL,
	KIND_INT,
	KIND_LONG, /* an integer of more than 8 bytes, as it is written */
	KIND_REAL, /* its value is nobody's concern */
	KIND_TEXT,
	KIND_TUPLE,
	KIND_LIST,
	KIND_DICT, /* a key, its value, a key, … */
	KIND_GLOBAL,
	KIND_CALL,    /* a global, its arguments as a tuple */
	KIND_STORAGE, /* what a persistent id says: one value */
};

enum global {
	GLOBAL_ORDERED_DICT,
	GLOBAL_TENSOR,    /* torch._utils._rebuild_tensor_v2 */
	GLOBAL_PARAMETER, /* torch._utils._rebuild_parameter */
	GLOBAL_STORAGE,   /* and an enum dtype added: torch.FloatStorage and so on */
};

struct value {
	enum kind kind;
	uint32_t n; /* items; bytes of a text or long */
	union {
		int64_t integer;  /* bool, int; a global's number */
		const char *text; /* (n), in the pickle's bytes */
		struct {
			uint32_t first, last; /* cells; if n */
		} items;
	};
};

struct cell {
	uint32_t value, next;
};

struct pickle {
	struct value *values;
	struct cell *cells;
	uint32_t *stack, *memo; /* numbers of values; the memo's are one more, 0: empty */
	size_t values_n, cells_n, stack_n, memo_n, memo_used;
	size_t values_room, cells_room, stack_room;
	const struct value *root; /* what the pickle is */

	const uint8_t *bytes; /* while it is read */
	size_t begin, at, end, opcode_at;
	int opcode, done;
	uint64_t arg; /* the number behind the opcode */
};

/* The pickle at *at of the bytes; *at becomes the byte after it. Messages say bytes counted from the first. */
int pickle_read(struct pickle *pickle, const uint8_t *bytes, size_t size, size_t *at, struct err *err);
void pickle_release(struct pickle *pickle);

/* The items of a container, in their order: for (cell = first; n--; cell = next). Item i, which is there. */
const struct value *pickle_item(const struct pickle *pickle, const struct value *container, uint32_t i);
/* The first value under a key of a dict; NULL if there is none. */
const struct value *pickle_find(const struct pickle *pickle, const struct value *dict, const char *key);
/* n bytes of text against a string. */
int text_is(const char *text, size_t n, const char *expected);
int value_is_text(const struct value *value, const char *text);
/* "a tuple of 3", "a dict with 'epoch', 'lr', …": for messages. */
const char *pickle_describe(const struct pickle *pickle, const struct value *value, char out[256]);

#endif
