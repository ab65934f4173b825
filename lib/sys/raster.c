/*
 * Heads of PNG files (PNG specification, 11.2.2), and the segments of JPEG files (ITU T.81, B.1 and B.2.2).
 */
#include "sys/raster.h"

#include <stdint.h>
#include <string.h>

enum { END_OF_IMAGE = 0xd9, LONGEST_HEAD = 9 /* bytes of a frame header up to its width */ };

static int
number(const uint8_t *p, int bytes)
{
	int n = 0;

	while (bytes--)
		n = n << 8 | *p++;
	return n;
}

/* 0xff before something else than coded data can have behind it: 0 for a 0xff, restarts, filling. */
static int
is_marker(const uint8_t *p)
{
	return p[0] == 0xff && p[1] && p[1] != 0xff && (p[1] & 0xf8) != 0xd0;
}

/* SOF0 to SOF15, between which lie tables (DHT, DAC) and a reserved one. */
static int
is_frame(int marker)
{
	return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* Height and width of the first frame, NULL if there is none; whether the end is there. */
static const uint8_t *
jpeg_frame(int *whole, const uint8_t *p, size_t n)
{
	const uint8_t *frame = NULL;
	size_t at = 2;

	*whole = 0;
	while (at + 1 < n && !*whole) {
		if (!is_marker(p + at)) {
			at++;
			continue;
		}
		*whole = p[at + 1] == END_OF_IMAGE;
		if (at + LONGEST_HEAD > n)
			break;
		if (!frame && is_frame(p[at + 1]))
			frame = p + at + 5;
		at += 2 + (size_t)number(p + at + 2, 2);
	}
	return frame;
}

static int
parse_jpeg(struct raster *raster, const uint8_t *p, size_t n, const char *name, struct err *err)
{
	int whole;
	const uint8_t *frame = jpeg_frame(&whole, p, n);

	if (!frame)
		return err_set(err, "%s: no frame header in its %zu bytes, expected a JPEG picture", name, n);
	if (!whole)
		return err_set(err, "%s: a JPEG picture that breaks off: no end in its %zu bytes", name, n);
	*raster = (struct raster){ "jpeg", number(frame + 2, 2), number(frame, 2) };
	return 0;
}

int
raster_parse(struct raster *raster, const void *data, size_t n, const char *name, struct err *err)
{
	static const uint8_t png[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R' };
	const uint8_t *p = data;

	if (n >= 24 && !memcmp(p, png, sizeof png) && p[16] < 0x80 && p[20] < 0x80)
		*raster = (struct raster){ "png", number(p + 16, 4), number(p + 20, 4) };
	else if (n < 4 || p[0] != 0xff || p[1] != 0xd8)
		return err_set(err, "%s: neither a PNG nor a JPEG picture", name);
	else if (parse_jpeg(raster, p, n, name, err))
		return -1;
	return raster->width && raster->height
	               ? 0
	               : err_set(err, "%s: a picture of %d x %d pixels", name, raster->width, raster->height);
}
