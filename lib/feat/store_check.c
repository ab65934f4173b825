/*
 * LMDB's files, data version 1 as 64-bit little-endian machines write it (lmdb's mdb.c: MDB_page, MDB_meta, MDB_node):
 *
 *     meta page, twice    16 magic | 20 version | 40 page size | 92 flags | 128 root | 136 last page | 144 transaction
 *     branch, leaf page   0 its number | 10 kind | 12 end of the offsets | 16 an offset a node
 *     node                0 size, or page below (48 bits with 4) | 4 flags | 6 key's size | 8 key, then value or its page
 *
 * Where the order of keys is wrong a lookup misses, no more; what a value holds is checked when it is read.
 */
#include "feat/store_check.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feat/store.h"

enum { PAGE_LEAST = 512, PAGE_MOST = 32768, PAGE_HEAD = 16, META_END = 152, NODE_HEAD = 8, DEPTH = 32 };
enum { BRANCH = 1, LEAF = 2, META = 8, KINDS = 0x6f }; /* kinds of pages */
enum { OWN_PAGES = 1 };                                /* a node's flag: its value lies on pages of its own */

struct tree {
	const char *path;
	const uint8_t *base;
	uint64_t bytes, page_size, pages, seen;
};

static uint64_t
get(const uint8_t *at, size_t bytes)
{
	uint64_t x = 0;

	memcpy(&x, at, bytes);
	return x;
}

static int
broken(const struct tree *t, uint64_t page, const char *words, struct err *err)
{
	return err_set(err, "%s: damaged: page %llu %s", t->path, (unsigned long long)page, words);
}

static int
check_value(const struct tree *t, uint64_t page, uint64_t at, struct err *err)
{
	const uint8_t *node = t->base + page * t->page_size + at;
	uint64_t size = get(node, 4), flags = get(node + 4, 2), from = at + NODE_HEAD + get(node + 6, 2), own;

	if (!flags)
		return size > t->page_size - from ? broken(t, page, "has a value that ends past it", err) : 0;
	if (flags != OWN_PAGES || t->page_size - from < 8)
		return broken(t, page, "has a value of another kind", err);
	own = get(t->base + page * t->page_size + from, 8);
	if (own < 2 || own >= t->pages || size > (t->pages - own) * t->page_size - PAGE_HEAD)
		return broken(t, page, "has a value that ends past the file", err);
	return 0;
}

static int
check_page(struct tree *t, uint64_t page, int depth, struct err *err)
{
	const uint8_t *p;
	uint64_t kind, end;

	if (page < 2 || page >= t->pages)
		return broken(t, page, "is named, but is no page of the tree", err);
	if (depth > DEPTH || ++t->seen > t->pages)
		return broken(t, page, "is reached twice or lies too deep", err);
	p = t->base + page * t->page_size;
	kind = get(p + 10, 2) & KINDS;
	end = get(p + 12, 2);
	if (get(p, 8) != page || (kind != BRANCH && kind != LEAF))
		return broken(t, page, "is neither branch nor leaf", err);
	if (end < PAGE_HEAD + (kind == BRANCH ? 4 : 2) || end > t->page_size || end % 2)
		return broken(t, page, "has a wrong number of nodes", err);
	for (uint64_t i = PAGE_HEAD; i < end; i += 2) {
		uint64_t at = get(p + i, 2);

		if (at < end || at % 2 || at + NODE_HEAD > t->page_size ||
		    at + NODE_HEAD + get(p + at + 6, 2) > t->page_size)
			return broken(t, page, "has a node that ends past it", err);
		if (kind == BRANCH ? check_page(t, get(p + at, 6), depth + 1, err) : check_value(t, page, at, err))
			return -1;
	}
	return 0;
}

static int
check_metas(struct tree *t, struct err *err)
{
	if (t->bytes < META_END || get(t->base + 16, 4) != STORE_MAGIC)
		return err_set(err, "%s: not a store", t->path);
	t->page_size = get(t->base + 40, 4);
	if (t->page_size < PAGE_LEAST || t->page_size > PAGE_MOST || (t->page_size & (t->page_size - 1)))
		return err_set(err, "%s: damaged: pages of %llu bytes, expected a power of two from %d to %d", t->path,
		               (unsigned long long)t->page_size, PAGE_LEAST, PAGE_MOST);
	if (t->bytes < 2 * t->page_size)
		return err_set(err, "%s: cut off: %llu bytes, expected at least %llu", t->path,
		               (unsigned long long)t->bytes, (unsigned long long)(2 * t->page_size));
	for (uint64_t page = 0; page < 2; page++) {
		const uint8_t *meta = t->base + page * t->page_size;

		if (!(get(meta + 10, 2) & META) || get(meta + 16, 4) != STORE_MAGIC || get(meta + 20, 4) != 1 ||
		    get(meta + 40, 4) != t->page_size)
			return broken(t, page, "is no meta page of version 1", err);
	}
	return 0;
}

/* The meta page of the later transaction counts, as LMDB chooses. */
static int
check_tree(struct tree *t, struct err *err)
{
	const uint8_t *first = t->base, *second = t->base + t->page_size;
	const uint8_t *meta = get(first + 144, 8) < get(second + 144, 8) ? second : first;
	uint64_t root = get(meta + 128, 8);

	t->pages = get(meta + 136, 8) + 1;
	if (!t->pages || t->pages > UINT64_MAX / t->page_size)
		return broken(t, t->pages - 1, "cannot be the last", err);
	if (t->bytes < t->pages * t->page_size)
		return err_set(err, "%s: cut off: %llu bytes, expected %llu", t->path, (unsigned long long)t->bytes,
		               (unsigned long long)(t->pages * t->page_size));
	if (get(meta + 92, 2))
		return err_set(err, "%s: not a store of vqa-featpack", t->path);
	return root == UINT64_MAX ? 0 : check_page(t, root, 1, err); /* no root: an empty tree */
}

int
store_check(const char *path, struct err *err)
{
	struct tree t = { .path = path };
	int fd = open(path, O_RDONLY | O_CLOEXEC), bad;
	struct stat st;
	void *base;

	if (fd < 0)
		return err_sys(err, "%s: cannot open", path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !st.st_size) {
		close(fd);
		return err_set(err, "%s: not a store", path);
	}
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (base == MAP_FAILED)
		return err_sys(err, "%s: cannot map", path);
	t.base = base;
	t.bytes = (uint64_t)st.st_size;
	bad = check_metas(&t, err) || check_tree(&t, err) ? -1 : 0;
	munmap(base, (size_t)st.st_size);
	return bad;
}
