/*
 * Images out of .npz files.
 */
#include "feat/npz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/floats.h"
#include "sys/utf8.h"

enum { PIXELS = 1 << 24 };

/* What extractors call the arrays. */
static const char *const names[NPZ_ARRAYS][2] = {
	[NPZ_ID] = { "img_id", "image_id" },   [NPZ_FEATURES] = { "features", "x" },
	[NPZ_BOXES] = { "boxes", "bbox" },     [NPZ_WIDTH] = { "img_w", "image_w" },
	[NPZ_HEIGHT] = { "img_h", "image_h" }, [NPZ_COUNT] = { "num_boxes", "num_bbox" },
};

void
npz_open(struct npz *z, int fd, const char *path)
{
	memset(z, 0, sizeof *z);
	z->fd = fd;
	z->path = path;
}

static int
map(struct npz *z, struct err *err)
{
	struct stat st;
	void *bytes;

	if (fstat(z->fd, &st) || st.st_size <= 0)
		return err_set(err, "an empty file");
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, z->fd, 0);
	if (bytes == MAP_FAILED)
		return err_sys(err, "cannot map it");
	z->bytes = bytes;
	z->size = (size_t)st.st_size;
	return zip_open(&z->zip, z->bytes, z->size, err);
}

static int
find_array(struct npz *z, enum npz_array which, struct err *err)
{
	for (int i = 0; i < 2; i++) {
		char name[32];
		int n = snprintf(name, sizeof name, "%s.npy", names[which][i]);
		const struct zip_entry *entry = zip_find(&z->zip, name, (size_t)n);

		if (entry && z->entries[which])
			return err_set(err, "arrays '%s' and '%s' are both there, expected one", names[which][0],
			               names[which][1]);
		if (entry)
			z->entries[which] = entry;
	}
	if (!z->entries[which])
		return which == NPZ_ID || which == NPZ_COUNT
		               ? 0
		               : err_set(err, "no array '%s' or '%s'", names[which][0], names[which][1]);
	return npy_open(&z->arrays[which], z->bytes, z->entries[which], err);
}

/* "(36, 2048)" */
static const char *
shape_text(char out[96], const struct npy *a)
{
	size_t n = 0;

	for (int i = 0; i < a->dims; i++)
		n += (size_t)snprintf(out + n, 96 - n, "%s%llu", i ? ", " : "(", (unsigned long long)a->shape[i]);
	snprintf(out + n, 96 - n, "%s", a->dims ? ")" : "()");
	return out;
}

static int
wrong_shape(const struct npy *a, const char *expected, struct err *err)
{
	char shape[96];

	return err_set(err, "array '%s': shape %s, expected %s", a->name, shape_text(shape, a), expected);
}

/* One image: features (R, F), or (F, R) as openvqa has them; the boxes' number says which. In Fortran's order the last is what lies apart. */
static int
plan_one(struct npz *z, struct err *err)
{
	const struct npy *x = &z->arrays[NPZ_FEATURES], *boxes = &z->arrays[NPZ_BOXES];
	int turned;

	if (boxes->dims != 2 || boxes->shape[1] != 4)
		return wrong_shape(boxes, "(regions, 4)", err);
	turned = x->shape[0] != boxes->shape[0];
	if (x->shape[turned] != boxes->shape[0])
		return wrong_shape(x, "one dimension to be the boxes'", err);
	z->images = 1;
	z->R = boxes->shape[0];
	z->F = x->shape[!turned];
	z->transposed_features = turned != x->fortran;
	z->transposed_boxes = boxes->fortran;
	return 0;
}

static int
plan_many(struct npz *z, struct err *err)
{
	const struct npy *x = &z->arrays[NPZ_FEATURES], *boxes = &z->arrays[NPZ_BOXES];

	if (boxes->dims != 3 || boxes->shape[0] != x->shape[0] || boxes->shape[1] != x->shape[1] ||
	    boxes->shape[2] != 4)
		return wrong_shape(boxes, "(images, regions, 4) as the features have them", err);
	if (x->fortran || boxes->fortran)
		return err_set(err, "array '%s': in Fortran's order, expected C's", (x->fortran ? x : boxes)->name);
	if (!z->entries[NPZ_ID])
		return err_set(err, "no array '%s' or '%s', which many images need", names[NPZ_ID][0],
		               names[NPZ_ID][1]);
	z->many = 1;
	z->images = x->shape[0];
	z->R = x->shape[1];
	z->F = x->shape[2];
	return 0;
}

static int
check_kinds(const struct npz *z, struct err *err)
{
	for (int i = 0; i < NPZ_ARRAYS; i++) {
		const struct npy *a = &z->arrays[i];
		int real = i == NPZ_FEATURES || i == NPZ_BOXES;

		if (!z->entries[i])
			continue;
		if (real ? !npy_is_real(a) : !npy_is_integer(a) && !(i == NPZ_ID && npy_is_text(a)))
			return err_set(err, "array '%s': items of kind '%c%d', expected %s", a->name, a->type, a->item,
			               real          ? "f2, f4 or f8, little endian"
			               : i == NPZ_ID ? "strings or integers"
			                             : "integers");
		if (!real && (a->count != z->images || (z->many && a->dims != 1)))
			return wrong_shape(a, z->many ? "one for each image" : "one number", err);
	}
	return 0;
}

static int
begin(struct npz *z, struct err *err)
{
	const struct npy *x = &z->arrays[NPZ_FEATURES];

	if (map(z, err))
		return -1;
	for (int i = 0; i < NPZ_ARRAYS; i++)
		if (find_array(z, i, err))
			return -1;
	if (x->dims == 3   ? plan_many(z, err)
	    : x->dims == 2 ? plan_one(z, err)
	                   : wrong_shape(x, "2 or 3 dimensions", err))
		return -1;
	if (!z->images)
		return err_set(err, "no images");
	if (!z->R || z->R > FEATURES_REGIONS || !z->F || z->F > FEATURES_WIDTH)
		return err_set(err, "%llu regions of %llu features, expected 1 to %d of 1 to %d",
		               (unsigned long long)z->R, (unsigned long long)z->F, FEATURES_REGIONS, FEATURES_WIDTH);
	return check_kinds(z, err);
}

/* The file's name without its folder, .npz, and what kind of picture it was made from. */
static void
id_of_file(char *id, size_t size, const char *path)
{
	static const char *const ends[] = { ".npz", ".jpg", ".jpeg", ".png" };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		size_t end = strlen(ends[i]);

		if (n > end && !memcmp(name + n - end, ends[i], end))
			n -= end;
	}
	snprintf(id, size, "%.*s", n < size ? (int)n : 0, name);
}

/* All of an image's items, so that the next image's come next. */
static int
read_items(struct npz *z, struct features *f, int64_t *n, struct err *err)
{
	size_t R = (size_t)z->R, F = (size_t)z->F;

	*n = (int64_t)R;
	if (!z->entries[NPZ_ID])
		id_of_file(f->id, sizeof f->id, z->path);
	else if (npy_read_text(f->id, sizeof f->id, &z->arrays[NPZ_ID], err))
		return -1;
	if (z->entries[NPZ_COUNT] && npy_read_integer(n, &z->arrays[NPZ_COUNT], err))
		return -1;
	return features_room(f, (int)R, (int)F, 0, err) || npy_read_integer(&f->width, &z->arrays[NPZ_WIDTH], err) ||
	                       npy_read_integer(&f->height, &z->arrays[NPZ_HEIGHT], err) ||
	                       npy_read_floats(f->boxes, &z->arrays[NPZ_BOXES], R, 4, z->transposed_boxes, err) ||
	                       npy_read_floats(f->features, &z->arrays[NPZ_FEATURES], R, F, z->transposed_features, err)
	               ? -1
	               : 0;
}

static int
check_within(const struct npz *z, enum npz_array which, int64_t value, int64_t high, struct err *err)
{
	return value < 1 || value > high ? err_set(err, "%s: %lld, expected 1 to %lld", z->arrays[which].name,
	                                           (long long)value, (long long)high)
	                                 : 0;
}

/* Of n regions: what lies behind them is filling. */
static int
check_image(const struct npz *z, struct features *f, int64_t n, struct err *err)
{
	size_t i, numbers;

	if (!f->id[0])
		return err_set(err, "its id is no text of 1 to %zu bytes", sizeof f->id - 1);
	if (check_within(z, NPZ_WIDTH, f->width, PIXELS, err) || check_within(z, NPZ_HEIGHT, f->height, PIXELS, err) ||
	    check_within(z, NPZ_COUNT, n, (int64_t)z->R, err))
		return -1;
	f->n = (int)n;
	if (features_share_boxes(f, err))
		return err_prefix(err, "%s", z->arrays[NPZ_BOXES].name);
	numbers = (size_t)n * (size_t)f->columns;
	i = first_not_finite(f->features, numbers);
	return i == numbers ? 0
	                    : err_set(err, "%s: region %zu, number %zu is %g, expected a finite number",
	                              z->arrays[NPZ_FEATURES].name, i / (size_t)f->columns, i % (size_t)f->columns,
	                              (double)((const float *)f->features)[i]);
}

int
npz_next(struct npz *z, struct features *f, char *where, size_t where_size, int *bad, struct err *fault)
{
	char id[96];
	int64_t n;

	snprintf(where, where_size, "%s", z->path);
	if (z->ended || (z->bytes && z->at == z->images))
		return 0;
	if (!z->bytes && begin(z, fault)) {
		z->ended = *bad = 1;
		err_prefix(fault, "%s", where);
		return 1;
	}
	if (z->many)
		snprintf(where, where_size, "%s:%llu", z->path, (unsigned long long)z->at);
	z->at++;
	z->ended = read_items(z, f, &n, fault) != 0;
	*bad = z->ended || check_image(z, f, n, fault);
	if (*bad)
		err_prefix(fault, "%s: image '%s'", where, utf8_quote(id, sizeof id, f->id, strlen(f->id)));
	return 1;
}

void
npz_close(struct npz *z)
{
	for (int i = 0; i < NPZ_ARRAYS; i++)
		npy_close(&z->arrays[i]);
	zip_close(&z->zip);
	if (z->bytes)
		munmap((void *)(uintptr_t)z->bytes, z->size);
	close(z->fd);
}
