/*
 * Features of a picture without a detector: 6 x 6 cells, each seen through a window of half the picture's width and height
 * around the cell's centre. The window is resampled to 16 x 16; from it
 *
 *     8 x 8 x RGB   averages of 2 x 2 pixels, minus the picture's mean colour, times 2           192 numbers
 *     8, 2 x 2 x 8, 4 x 4 x 8
 *                   histograms of unsigned gradient orientation at three scales                  168 numbers
 *                   (Bosch, Zisserman, Munoz 2007), each scale divided by its norm, times 4
 *
 * All is relative to the picture's size: nothing depends on what is in it.
 */
#ifndef VQA_FEAT_GRID_H
#define VQA_FEAT_GRID_H

#include "feat/features.h"
#include "feat/png.h"

enum {
	GRID_CELLS = 6,
	GRID_REGIONS = GRID_CELLS * GRID_CELLS,
	GRID_WINDOW = 16,
	GRID_COLOURS = 8, /* 8 x 8 averages */
	GRID_BINS = 8,
	GRID_COLUMNS = GRID_COLOURS * GRID_COLOURS * 3 + (1 + 4 + 16) * GRID_BINS,
};

int grid_features(struct features *out, const struct picture *picture, struct err *err);

#endif
