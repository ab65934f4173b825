/*
 * An image's features: R regions, a box and F numbers each. What the TSV, the store and the grid have in common.
 */
#ifndef VQA_FEAT_FEATURES_H
#define VQA_FEAT_FEATURES_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

enum {
	FEATURES_REGIONS = 1024,
	FEATURES_WIDTH = 1 << 16,
	FEATURES_ID = 512 /* bytes with the NUL: LMDB's longest key */
};

struct features {
	char id[FEATURES_ID];
	int64_t width, height;            /* of the picture, pixels */
	int n;                            /* R */
	int columns;                      /* F */
	int f16;                          /* features holds halves */
	float *boxes;                     /* (R, 4): x1 y1 x2 y2, shares of width and height, 0..1 */
	void *features;                   /* (R, F): float, or uint16_t if f16 */
	size_t room_boxes, room_features; /* bytes that are there */
};

/* Room for n regions of `columns` numbers; contents are lost. */
int features_room(struct features *f, int n, int columns, int f16, struct err *err);
void features_release(struct features *f);
/* Boxes in pixels to shares, of which up to 1e-5 beyond the picture are its edge, as with the reference; -1 with words of one outside. */
int features_share_boxes(struct features *f, struct err *err);
/* Floats to halves, in place, rounded to the nearest; -1 with words of one that would become infinite, which is number *at of all. */
int features_to_halves(struct features *f, size_t *at, struct err *err);
static inline size_t
features_bytes(const struct features *f)
{
	return (size_t)f->n * (size_t)f->columns * (f->f16 ? 2 : 4);
}

#endif
