/*
 * A B+ tree's lookup over mapped pages.
 */
#include "feat/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 16, NODE = 8, BRANCH = 0x01, LEAF = 0x02, OVERFLOW = 0x04, BIG = 0x01, DEPTH = 32, VERSION = 1 };
enum { META_MAGIC = HEAD, META_VERSION = 20, META_PAGE = 40, META_ROOT = 128, META_LAST = 136, META_TXN = 144 };
static const uint64_t NONE = UINT64_MAX; /* the root of an empty tree */

static uint64_t
get(const uint8_t *at, int bytes)
{
	uint64_t x = 0;

	while (bytes--)
		x = x << 8 | at[bytes];
	return x;
}

static int
damaged(const struct pages *p, uint64_t number, const char *what, struct err *err)
{
	return err_set(err, "%s: damaged: page %llu %s", p->path, (unsigned long long)number, what);
}

static int
check_size(const struct pages *p, struct err *err)
{
	if (p->size / p->page >= p->count)
		return 0;
	return err_set(err, "%s: cut off: %llu bytes, expected %llu", p->path, (unsigned long long)p->size,
	               (unsigned long long)p->count * p->page);
}

/* The later of the two roots, and the sizes it speaks of. */
static int
read_roots(struct pages *p, struct err *err)
{
	const uint8_t *meta = p->base, *other;

	p->page = (uint32_t)get(meta + META_PAGE, 4);
	if (get(meta + META_MAGIC, 4) != STORE_MAGIC)
		return err_set(err, "%s: not a store", p->path);
	if (get(meta + META_VERSION, 4) != VERSION || p->page < 512 || p->page > 65536 || (p->page & (p->page - 1)))
		return err_set(err, "%s: not a store: version %llu, pages of %u bytes", p->path,
		               (unsigned long long)get(meta + META_VERSION, 4), p->page);
	if (p->size < 2 * (uint64_t)p->page)
		return err_set(err, "%s: cut off: %llu bytes, expected at least %u", p->path,
		               (unsigned long long)p->size, 2 * p->page);
	other = p->base + p->page;
	if (get(other + META_MAGIC, 8) != get(meta + META_MAGIC, 8) ||
	    get(other + META_PAGE, 4) != get(meta + META_PAGE, 4))
		return damaged(p, 1, "is no root", err);
	if (get(other + META_TXN, 8) > get(meta + META_TXN, 8))
		meta = other;
	p->root = get(meta + META_ROOT, 8);
	if (get(meta + META_LAST, 8) >= UINT64_MAX / 65536)
		return damaged(p, (uint64_t)(meta != p->base), "names a last page beyond any file", err);
	p->count = get(meta + META_LAST, 8) + 1;
	return check_size(p, err);
}

int
pages_open(struct pages *p, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	void *base;

	*p = (struct pages){ .path = path };
	if (fd < 0)
		return err_sys(err, "%s: cannot open", path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, "%s: not a regular file", path);
	}
	if (st.st_size < 8192) {
		close(fd);
		return err_set(err, "%s: cut off: %lld bytes, expected at least 8192", path, (long long)st.st_size);
	}
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (base == MAP_FAILED)
		return err_sys(err, "%s: cannot map", path);
	madvise(base, (size_t)st.st_size, MADV_RANDOM);
	p->base = base;
	p->size = (uint64_t)st.st_size;
	if (read_roots(p, err)) {
		pages_close(p);
		return -1;
	}
	return 0;
}

void
pages_close(struct pages *p)
{
	if (p->base)
		munmap((void *)(uintptr_t)p->base, (size_t)p->size);
	p->base = NULL;
}

struct page {
	const uint8_t *at;
	uint64_t number;
	int flags, nodes;
};

static int
open_page(struct page *page, const struct pages *p, uint64_t number, struct err *err)
{
	uint64_t lower, upper;

	if (number < 2 || number >= p->count)
		return damaged(p, number, "is beyond the file's pages", err);
	*page = (struct page){ p->base + number * p->page, number, 0, 0 };
	page->flags = (int)get(page->at + 10, 2);
	lower = get(page->at + 12, 2);
	upper = get(page->at + 14, 2);
	if (get(page->at, 8) != number || (page->flags != BRANCH && page->flags != LEAF) || lower < HEAD || lower % 2 ||
	    lower > upper || upper > p->page)
		return damaged(p, number, "is no page of a tree", err);
	page->nodes = (int)(lower - HEAD) / 2;
	return page->nodes ? 0 : damaged(p, number, "is empty", err);
}

/* Node i, whose head and key lie within the page; NULL if they do not. */
static const uint8_t *
node(const struct pages *p, const struct page *page, int i)
{
	uint64_t offset = get(page->at + HEAD + 2 * i, 2);

	if (offset < HEAD + 2 * (uint64_t)page->nodes || offset + NODE > p->page ||
	    offset + NODE + get(page->at + offset + 6, 2) > p->page)
		return NULL;
	return page->at + offset;
}

/* The value of a leaf's node, in the page or in overflow pages of its own. */
static int
read_value(const struct pages *p, const struct page *page, const uint8_t *at, const uint8_t **value, size_t *value_n,
           struct err *err)
{
	const uint8_t *data = at + NODE + get(at + 6, 2);
	uint64_t n = get(at, 4), number, first;

	*value_n = (size_t)n;
	if (!(get(at + 4, 2) & BIG)) {
		*value = data;
		return (uint64_t)(data - page->at) + n <= p->page ? 1
		                                                  : damaged(p, page->number, "is cut by a value", err);
	}
	if (data - page->at + 8 > (ptrdiff_t)p->page)
		return damaged(p, page->number, "is cut by a value", err);
	number = get(data, 8);
	if (number < 2 || number >= p->count)
		return damaged(p, number, "is beyond the file's pages", err);
	first = number * p->page;
	if (get(p->base + first + 10, 2) != OVERFLOW || HEAD + n > (p->count - number) * p->page)
		return damaged(p, number, "holds no such value", err);
	*value = p->base + first + HEAD;
	return 1;
}

static int
compare(const void *key, size_t n, const uint8_t *at)
{
	size_t m = (size_t)get(at + 6, 2);
	int order = memcmp(key, at + NODE, n < m ? n : m);

	return order ? order : (n > m) - (n < m);
}

int
pages_find(const struct pages *p, const void *key, size_t n, const uint8_t **value, size_t *value_n, struct err *err)
{
	uint64_t number = p->root;

	if (number == NONE)
		return 0;
	for (int depth = 0; depth < DEPTH; depth++) {
		struct page page;
		const uint8_t *at, *found = NULL;
		int low, high, order = -1;

		if (open_page(&page, p, number, err))
			return -1;
		/* The last node whose key is not greater: in a branch the first counts as such. */
		for (low = page.flags == BRANCH, high = page.nodes; low < high;) {
			int middle = (low + high) / 2;

			at = node(p, &page, middle);
			if (!at)
				return damaged(p, number, "has a node outside itself", err);
			order = compare(key, n, at);
			if (order >= 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (!low)
			return 0;
		found = node(p, &page, low - 1);
		if (!found)
			return damaged(p, number, "has a node outside itself", err);
		if (page.flags == LEAF)
			return compare(key, n, found) ? 0 : read_value(p, &page, found, value, value_n, err);
		number = get(found, 4) | get(found + 4, 2) << 32;
	}
	return damaged(p, number, "lies deeper than any tree", err);
}
