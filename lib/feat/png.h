/*
 * A PNG as RGB pixels: gray, palette and 16 bits become 8-bit RGB, alpha is laid over white.
 */
#ifndef VQA_FEAT_PNG_H
#define VQA_FEAT_PNG_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

enum { PICTURE_SIDE = 16384 };
enum { PICTURE_PIXELS = 1 << 26 }; /* most pixels: 192 MiB */

struct picture {
	int width, height;
	uint8_t *rgb; /* (height, width, 3) */
};

int picture_read(struct picture *picture, const char *path, struct err *err);
/* The same from memory; name is for messages. */
int picture_parse(struct picture *picture, const void *data, size_t n, const char *name, struct err *err);
void picture_release(struct picture *picture);

#endif
