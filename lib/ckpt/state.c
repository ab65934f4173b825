/*
 * Which kind of file a state dict is in, and where its tensors lie: in the file's mapping, and those of a torch file that are not
 * row by row in memory behind it.
 */
#include "ckpt/state.h"

#include <sys/mman.h>
#include <unistd.h>

#include "ckpt/pth.h"
#include "sys/file.h"

/* Move the file to the beginning of a larger room, whose rest can be written. */
static int
widen(uint8_t **base, size_t file, size_t size, struct err *err)
{
	uint8_t *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		return err_sys(err, "cannot map %zu bytes", size);
	if (mremap(*base, file, file, MREMAP_MAYMOVE | MREMAP_FIXED, room) == MAP_FAILED) {
		err_sys(err, "cannot move its mapping");
		munmap(room, size);
		return -1;
	}
	*base = room;
	return 0;
}

/* *base is still the caller's if this fails. */
static int
open_pth(struct image *image, uint8_t *base, size_t size, struct err *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct pth pth;

	if (pth_parse(&pth, base, size, (size + page - 1) / page * page, err))
		return -1;
	if (pth.views_n) {
		if (widen(&base, size, pth.size, err)) {
			pth_release(&pth);
			return -1;
		}
		pth_copy(&pth, base);
		size = pth.size;
	}
	*image = pth.image;
	image->base = base;
	image->size = size;
	pth.image = (struct image){ 0 };
	pth_release(&pth);
	return 0;
}

int
state_open(struct image *image, const char *path, struct err *err)
{
	uint8_t *base;
	size_t size;
	int bad;

	*image = (struct image){ 0 };
	if (file_map(&base, &size, path, err))
		return -1;
	if (pth_is(base, size)) {
		bad = open_pth(image, base, size, err);
		if (bad)
			err_prefix(err, "%s", path);
	} else {
		bad = image_parse(image, base, size, path, err);
	}
	if (bad)
		file_unmap(base, size);
	image->mapped = !bad;
	return bad;
}
