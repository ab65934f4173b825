/*
 * The machine of pickles: a stack, a memo, and a table of the opcodes that are known (Python's Lib/pickletools.py describes them).
 */
#include "ckpt/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "sys/little.h"
#include "sys/utf8.h"

#define MARK UINT32_MAX /* on the stack, in a value's place */

static const struct {
	const char *module, *name;
	int global;
} globals[] = {
	{ "collections", "OrderedDict", GLOBAL_ORDERED_DICT },
	{ "torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR },
	{ "torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER },
	{ "torch", "DoubleStorage", GLOBAL_STORAGE + DTYPE_F64 },
	{ "torch", "FloatStorage", GLOBAL_STORAGE + DTYPE_F32 },
	{ "torch", "HalfStorage", GLOBAL_STORAGE + DTYPE_F16 },
	{ "torch", "BFloat16Storage", GLOBAL_STORAGE + DTYPE_BF16 },
	{ "torch", "LongStorage", GLOBAL_STORAGE + DTYPE_I64 },
	{ "torch", "IntStorage", GLOBAL_STORAGE + DTYPE_I32 },
	{ "torch", "ShortStorage", GLOBAL_STORAGE + DTYPE_I16 },
	{ "torch", "CharStorage", GLOBAL_STORAGE + DTYPE_I8 },
	{ "torch", "ByteStorage", GLOBAL_STORAGE + DTYPE_U8 },
	{ "torch", "BoolStorage", GLOBAL_STORAGE + DTYPE_BOOL },
};

/* Room for one more; it doubles, so that it is no more than twice what the bytes so far have made. */
static int
grow(void *list, size_t *room, size_t n, size_t size, struct err *err)
{
	void *more;

	if (n < *room)
		return 0;
	more = realloc(*(void **)list, (2 * n + 64) * size);
	if (!more)
		return err_set(err, "out of memory for a pickle of over %zu values", n);
	*(void **)list = more;
	*room = 2 * n + 64;
	return 0;
}

/* The words behind "byte N: opcode X"; -1. */
static int
fault(const struct pickle *p, struct err *err, const char *words)
{
	err_set(err, "byte %zu: opcode 0x%02x %s", p->opcode_at, (unsigned)p->opcode, words);
	return -1;
}

static int
push_number(struct pickle *p, uint32_t value, struct err *err)
{
	if (grow(&p->stack, &p->stack_room, p->stack_n, sizeof *p->stack, err))
		return -1;
	p->stack[p->stack_n++] = value;
	return 0;
}

static int
push(struct pickle *p, struct value value, struct err *err)
{
	if (grow(&p->values, &p->values_room, p->values_n, sizeof *p->values, err))
		return -1;
	p->values[p->values_n] = value;
	return push_number(p, (uint32_t)p->values_n++, err);
}

/* The value on top, which stays there. */
static int
top(const struct pickle *p, uint32_t *value, struct err *err)
{
	if (!p->stack_n || p->stack[p->stack_n - 1] == MARK)
		return fault(p, err, "finds no value on the stack");
	*value = p->stack[p->stack_n - 1];
	return 0;
}

static int
pop(struct pickle *p, uint32_t *value, struct err *err)
{
	if (top(p, value, err))
		return -1;
	p->stack_n--;
	return 0;
}

/* Where on the stack the values behind the last mark begin. */
static int
find_mark(const struct pickle *p, size_t *first, struct err *err)
{
	for (*first = p->stack_n; *first; --*first)
		if (p->stack[*first - 1] == MARK)
			return 0;
	return fault(p, err, "finds no mark on the stack");
}

static int
append(struct pickle *p, struct value *container, uint32_t value, struct err *err)
{
	uint32_t cell = (uint32_t)p->cells_n;

	if (grow(&p->cells, &p->cells_room, p->cells_n, sizeof *p->cells, err))
		return -1;
	p->cells[p->cells_n++] = (struct cell){ .value = value };
	if (container->n++)
		p->cells[container->items.last].next = cell;
	else
		container->items.first = cell;
	container->items.last = cell;
	return 0;
}

/* --- What the opcodes do. */

static int
do_proto(struct pickle *p, struct err *err)
{
	return p->arg >= 2 && p->arg <= 5 ? 0 : fault(p, err, "names a protocol that is not known, expected 2 to 5");
}

/* A frame says only how much to read at once. */
static int
do_frame(struct pickle *p, struct err *err)
{
	return p->arg <= p->end - p->at ? 0 : fault(p, err, "has a frame that ends past the pickle");
}

static int
do_stop(struct pickle *p, struct err *err)
{
	uint32_t value;

	if (pop(p, &value, err))
		return -1;
	if (p->stack_n)
		return fault(p, err, "leaves values on the stack");
	p->root = &p->values[value];
	p->done = 1;
	return 0;
}

static int
do_mark(struct pickle *p, struct err *err)
{
	return push_number(p, MARK, err);
}

static int
do_none(struct pickle *p, struct err *err)
{
	return push(p, (struct value){ .kind = KIND_NONE }, err);
}

static int
do_bool(struct pickle *p, struct err *err)
{
	return push(p, (struct value){ .kind = KIND_BOOL, .integer = p->opcode == 0x88 }, err);
}

static int
do_int(struct pickle *p, struct err *err)
{
	return push(p, (struct value){ .kind = KIND_INT, .integer = (int64_t)p->arg }, err);
}

static int
do_signed(struct pickle *p, struct err *err)
{
	return push(p, (struct value){ .kind = KIND_INT, .integer = (int32_t)(uint32_t)p->arg }, err);
}

static int
do_real(struct pickle *p, struct err *err)
{
	return push(p, (struct value){ .kind = KIND_REAL }, err);
}

/* n bytes of the pickle, which the opcode skips. */
static int
take(struct pickle *p, const char **text, uint64_t n, struct err *err)
{
	if (n > p->end - p->at)
		return fault(p, err, "ends past the pickle");
	*text = (const char *)p->bytes + p->at;
	p->at += (size_t)n;
	return 0;
}

static int
do_text(struct pickle *p, struct err *err)
{
	struct value value = { .kind = KIND_TEXT, .n = (uint32_t)p->arg };

	return take(p, &value.text, p->arg, err) || push(p, value, err) ? -1 : 0;
}

/* Two's complement, little endian; no bytes are 0. */
static int
do_long(struct pickle *p, struct err *err)
{
	struct value value = { .kind = KIND_LONG, .n = (uint32_t)p->arg };

	if (take(p, &value.text, p->arg, err))
		return -1;
	if (p->arg <= 8) {
		const uint8_t *bytes = (const uint8_t *)value.text;
		uint64_t sign = p->arg && bytes[p->arg - 1] & 0x80 && p->arg < 8 ? ~UINT64_C(0) << (8 * p->arg) : 0;

		value = (struct value){ .kind = KIND_INT, .integer = (int64_t)(little(bytes, (int)p->arg) | sign) };
	}
	return push(p, value, err);
}

static int
do_new(struct pickle *p, struct err *err)
{
	enum kind kind = p->opcode == ')' ? KIND_TUPLE : p->opcode == ']' ? KIND_LIST : KIND_DICT;

	return push(p, (struct value){ .kind = kind }, err);
}

/* The values from `first` on become one tuple; a mark before them goes too. */
static int
fold(struct pickle *p, size_t first, int marked, struct err *err)
{
	struct value tuple = { .kind = KIND_TUPLE };

	for (size_t i = first; i < p->stack_n; i++)
		if (append(p, &tuple, p->stack[i], err))
			return -1;
	p->stack_n = first - (size_t)marked;
	return push(p, tuple, err);
}

static int
do_tuple(struct pickle *p, struct err *err)
{
	size_t first;

	return find_mark(p, &first, err) || fold(p, first, 1, err) ? -1 : 0;
}

static int
do_short_tuple(struct pickle *p, struct err *err)
{
	size_t n = (size_t)p->opcode - 0x84, first;

	for (first = p->stack_n; first && p->stack[first - 1] != MARK && p->stack_n - first < n; first--)
		;
	return p->stack_n - first == n ? fold(p, first, 0, err) : fault(p, err, "finds too few values on the stack");
}

/* The values from `first` on go into the container below them. */
static int
fill(struct pickle *p, size_t first, int marked, enum kind kind, struct err *err)
{
	size_t end = p->stack_n;
	uint32_t container;

	p->stack_n = first - (size_t)marked;
	if (top(p, &container, err))
		return -1;
	if (p->values[container].kind != kind)
		return fault(p, err,
		             kind == KIND_LIST ? "finds no list to append to" : "finds no dict to set items of");
	if (kind == KIND_DICT && (end - first) % 2)
		return fault(p, err, "finds a key without a value");
	for (size_t i = first; i < end; i++)
		if (append(p, &p->values[container], p->stack[i], err))
			return -1;
	return 0;
}

static int
do_fill(struct pickle *p, struct err *err)
{
	size_t first;

	return find_mark(p, &first, err) || fill(p, first, 1, p->opcode == 'e' ? KIND_LIST : KIND_DICT, err) ? -1 : 0;
}

static int
do_fill_one(struct pickle *p, struct err *err)
{
	size_t n = p->opcode == 'a' ? 1 : 2;

	for (size_t i = 1; i <= n; i++)
		if (p->stack_n < i || p->stack[p->stack_n - i] == MARK)
			return fault(p, err, "finds too few values on the stack");
	return fill(p, p->stack_n - n, 0, n == 1 ? KIND_LIST : KIND_DICT, err);
}

/* Who writes pickles counts the memo up, so an index is never beyond the byte where it stands. */
static int
memorize(struct pickle *p, uint64_t index, struct err *err)
{
	uint32_t value;

	if (top(p, &value, err))
		return -1;
	if (index > p->opcode_at - p->begin)
		return err_set(err, "byte %zu: memo index %llu, expected at most %zu, the bytes before it",
		               p->opcode_at, (unsigned long long)index, p->opcode_at - p->begin);
	if (index >= p->memo_n) {
		size_t n = 2 * (size_t)index + 64;
		uint32_t *more = realloc(p->memo, n * sizeof *more);

		if (!more)
			return err_set(err, "out of memory for a memo of %zu", n);
		memset(more + p->memo_n, 0, (n - p->memo_n) * sizeof *more);
		p->memo = more;
		p->memo_n = n;
	}
	p->memo_used += !p->memo[index];
	p->memo[index] = value + 1;
	return 0;
}

static int
do_put(struct pickle *p, struct err *err)
{
	return memorize(p, p->arg, err);
}

static int
do_memoize(struct pickle *p, struct err *err)
{
	return memorize(p, p->memo_used, err);
}

static int
do_get(struct pickle *p, struct err *err)
{
	if (p->arg >= p->memo_n || !p->memo[p->arg])
		return err_set(err, "byte %zu: memo index %llu is empty", p->opcode_at, (unsigned long long)p->arg);
	return push_number(p, p->memo[p->arg] - 1, err);
}

static int
push_global(struct pickle *p, const char *module, size_t module_n, const char *name, size_t name_n, struct err *err)
{
	char a[64], b[64];

	for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
		if (text_is(module, module_n, globals[i].module) && text_is(name, name_n, globals[i].name))
			return push(p, (struct value){ .kind = KIND_GLOBAL, .integer = globals[i].global }, err);
	return err_set(err, "byte %zu: global '%s.%s' is not among those of a state dict; nothing was run",
	               p->opcode_at, utf8_quote(a, sizeof a, module, module_n), utf8_quote(b, sizeof b, name, name_n));
}

/* Up to a newline, which is skipped. */
static int
take_line(struct pickle *p, const char **text, size_t *n, struct err *err)
{
	const uint8_t *end = memchr(p->bytes + p->at, '\n', p->end - p->at);

	if (!end)
		return fault(p, err, "ends past the pickle");
	*text = (const char *)p->bytes + p->at;
	*n = (size_t)(end - p->bytes) - p->at;
	p->at += *n + 1;
	return 0;
}

static int
do_global(struct pickle *p, struct err *err)
{
	const char *module, *name;
	size_t module_n, name_n;

	return take_line(p, &module, &module_n, err) || take_line(p, &name, &name_n, err) ||
	                       push_global(p, module, module_n, name, name_n, err)
	               ? -1
	               : 0;
}

static int
do_stack_global(struct pickle *p, struct err *err)
{
	uint32_t name, module;
	const struct value *m, *n;

	if (pop(p, &name, err) || pop(p, &module, err))
		return -1;
	m = &p->values[module];
	n = &p->values[name];
	if (m->kind != KIND_TEXT || n->kind != KIND_TEXT)
		return fault(p, err, "finds a global whose name is no text");
	return push_global(p, m->text, m->n, n->text, n->n, err);
}

static int
do_reduce(struct pickle *p, struct err *err)
{
	struct value call = { .kind = KIND_CALL };
	uint32_t args, callee;

	if (pop(p, &args, err) || pop(p, &callee, err))
		return -1;
	if (p->values[args].kind != KIND_TUPLE)
		return fault(p, err, "calls with something else than a tuple");
	if (p->values[callee].kind != KIND_GLOBAL || p->values[callee].integer >= GLOBAL_STORAGE)
		return fault(p, err, "calls something else than a function");
	if (p->values[callee].integer == GLOBAL_ORDERED_DICT)
		return p->values[args].n ? fault(p, err, "calls OrderedDict with arguments")
		                         : push(p, (struct value){ .kind = KIND_DICT }, err);
	return append(p, &call, callee, err) || append(p, &call, args, err) || push(p, call, err) ? -1 : 0;
}

/* The attributes of an OrderedDict, _metadata, are of no use here. */
static int
do_build(struct pickle *p, struct err *err)
{
	uint32_t state, object;

	if (pop(p, &state, err) || top(p, &object, err))
		return -1;
	return p->values[object].kind == KIND_DICT ? 0 : fault(p, err, "sets attributes of something else than a dict");
}

static int
do_storage(struct pickle *p, struct err *err)
{
	struct value storage = { .kind = KIND_STORAGE };
	uint32_t id;

	return pop(p, &id, err) || append(p, &storage, id, err) || push(p, storage, err) ? -1 : 0;
}

static const struct {
	int (*run)(struct pickle *p, struct err *err);
	int bytes; /* of the number behind it */
} opcodes[256] = {
	[0x80] = { do_proto, 1 },       [0x95] = { do_frame, 8 },        ['.'] = { do_stop, 0 },
	['('] = { do_mark, 0 },         ['N'] = { do_none, 0 },          [0x88] = { do_bool, 0 },
	[0x89] = { do_bool, 0 },        ['K'] = { do_int, 1 },           ['M'] = { do_int, 2 },
	['J'] = { do_signed, 4 },       [0x8a] = { do_long, 1 },         ['G'] = { do_real, 8 },
	['X'] = { do_text, 4 },         [0x8c] = { do_text, 1 },         [')'] = { do_new, 0 },
	['t'] = { do_tuple, 0 },        [0x85] = { do_short_tuple, 0 },  [0x86] = { do_short_tuple, 0 },
	[0x87] = { do_short_tuple, 0 }, [']'] = { do_new, 0 },           ['a'] = { do_fill_one, 0 },
	['e'] = { do_fill, 0 },         ['}'] = { do_new, 0 },           ['s'] = { do_fill_one, 0 },
	['u'] = { do_fill, 0 },         ['q'] = { do_put, 1 },           ['r'] = { do_put, 4 },
	[0x94] = { do_memoize, 0 },     ['h'] = { do_get, 1 },           ['j'] = { do_get, 4 },
	['c'] = { do_global, 0 },       [0x93] = { do_stack_global, 0 }, ['R'] = { do_reduce, 0 },
	['b'] = { do_build, 0 },        ['Q'] = { do_storage, 0 },
};

static int
step(struct pickle *p, struct err *err)
{
	int bytes;

	if (p->at == p->end)
		return err_set(err, "byte %zu: %s", p->at,
		               p->end - p->begin < PICKLE_MOST
		                       ? "the pickle ends before its stop"
		                       : "over 8 MiB of pickle, expected less for a state dict");
	p->opcode_at = p->at;
	p->opcode = p->bytes[p->at++];
	if (!opcodes[p->opcode].run)
		return fault(p, err, "is not known, expected those of a state dict");
	bytes = opcodes[p->opcode].bytes;
	if ((size_t)bytes > p->end - p->at)
		return fault(p, err, "ends past the pickle");
	p->arg = little(p->bytes + p->at, bytes);
	p->at += (size_t)bytes;
	return opcodes[p->opcode].run(p, err);
}

int
pickle_read(struct pickle *p, const uint8_t *bytes, size_t size, size_t *at, struct err *err)
{
	*p = (struct pickle){ .bytes = bytes, .begin = *at, .at = *at };
	p->end = size - *at > PICKLE_MOST ? *at + PICKLE_MOST : size;
	while (!p->done)
		if (step(p, err)) {
			pickle_release(p);
			return -1;
		}
	*at = p->at;
	return 0;
}

void
pickle_release(struct pickle *p)
{
	free(p->values);
	free(p->cells);
	free(p->stack);
	free(p->memo);
	*p = (struct pickle){ 0 };
}
