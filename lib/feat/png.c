/*
 * PNG by libpng's simplified interface, which keeps its own errors; sizes are checked before pixels are decoded.
 */
#include "feat/png.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
decode(struct picture *picture, png_image *image, const char *name, struct err *err)
{
	const png_color white = { 255, 255, 255 };

	if (image->width > PICTURE_SIDE || image->height > PICTURE_SIDE ||
	    (uint64_t)image->width * image->height > PICTURE_PIXELS) {
		err_set(err, "%s: a picture of %u x %u pixels, expected at most %d a side and %d in all", name,
		        image->width, image->height, PICTURE_SIDE, PICTURE_PIXELS);
		png_image_free(image);
		return -1;
	}
	image->format = PNG_FORMAT_RGB;
	picture->width = (int)image->width;
	picture->height = (int)image->height;
	picture->rgb = malloc(PNG_IMAGE_SIZE(*image));
	if (!picture->rgb) {
		png_image_free(image);
		return err_set(err, "%s: out of memory for %d x %d pixels", name, picture->width, picture->height);
	}
	if (!png_image_finish_read(image, &white, picture->rgb, 0, NULL)) {
		picture_release(picture);
		return err_set(err, "%s: not a whole PNG: %s", name, image->message);
	}
	return 0;
}

int
picture_read(struct picture *picture, const char *path, struct err *err)
{
	png_image image = { .version = PNG_IMAGE_VERSION };
	FILE *file = fopen(path, "rbe");
	int bad;

	*picture = (struct picture){ 0 };
	if (!file)
		return err_sys(err, "%s: cannot open", path);
	bad = !png_image_begin_read_from_stdio(&image, file) ? err_set(err, "%s: not a PNG: %s", path, image.message)
	                                                     : decode(picture, &image, path, err);
	fclose(file);
	return bad;
}

int
picture_parse(struct picture *picture, const void *data, size_t n, const char *name, struct err *err)
{
	png_image image = { .version = PNG_IMAGE_VERSION };

	*picture = (struct picture){ 0 };
	if (!png_image_begin_read_from_memory(&image, data, n))
		return err_set(err, "%s: not a PNG: %s", name, image.message);
	return decode(picture, &image, name, err);
}

void
picture_release(struct picture *picture)
{
	free(picture->rgb);
	*picture = (struct picture){ 0 };
}
