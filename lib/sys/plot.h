/*
 * Pictures by gnuplot: a script is put together in memory, data and all, and gnuplot writes the picture to a descriptor of ours.
 *
 * No path ever stands in a script: the picture that is drawn over is descriptor 3, the output descriptor 1. Text from outside
 * stands in a script only as plot_text() and plot_tic() write it: between single quotes, within which gnuplot neither runs commands nor
 * expands anything, without control characters, and with typographic apostrophes in place of single quotes, since gnuplot (5.4) reads
 * a doubled one at a string's beginning as its end. gnuplot reads nobody's start-up files; its time and its memory are limited.
 */
#ifndef VQA_SYS_PLOT_H
#define VQA_SYS_PLOT_H

#include <stddef.h>
#include <stdio.h>

#include "sys/err.h"
#include "sys/raster.h"

struct plot {
	const char *path; /* of the output; kept */
	FILE *script;     /* the caller writes commands here */
	char *text;       /* what was written */
	size_t n;
	int picture_fd;       /* of a PNG or JPEG file that the script draws, or -1 */
	struct raster raster; /* of that */
};

/* Colours that are told apart, also by those who see fewer (Okabe and Ito 2008). plot_colour(i) goes round. */
const char *plot_colour(int i);

/* path ends with .png or .svg; nothing is at path before plot_close() returned 0. width and height are in pixels. */
int plot_open(struct plot *plot, const char *path, int width, int height, struct err *err);
/* A string of gnuplot's: at most `most` bytes of text, a cut is shown by "...". */
void plot_text(const struct plot *plot, const char *text, size_t n, size_t most);
/* The same for a tic's label, which gnuplot takes for a format of numbers. */
void plot_tic(const struct plot *plot, const char *text, size_t n, size_t most);
/* The file that plot_draw_picture() draws; its kind and size are read off it. */
int plot_take_picture(struct plot *plot, const char *path, struct err *err);
/* The operand of "plot" for it: pixels from (0, 0), the lower left, to (width - 1, height - 1). */
void plot_draw_picture(const struct plot *plot);
/* Draw: the file appears whole or not at all. Releases everything in either case. */
int plot_close(struct plot *plot, struct err *err);

#endif
