/*
 * The reference's feature table (lxrt, utils.py): a row an image, ten columns between tabs, arrays in base64.
 *
 *     img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features
 *
 * Boxes are (R, 4) float32 x1 y1 x2 y2 in pixels, features (R, F) float32; objects_id and attrs_id are int64, the
 * confidences float32, all (R).
 */
#ifndef VQA_FEAT_TSV_H
#define VQA_FEAT_TSV_H

#include <stdint.h>
#include <stdio.h>

#include "feat/features.h"

enum { TSV_ROW = 1 << 28 }; /* most bytes of a row */
enum { TSV_NUM_BOXES = 8 }; /* its place among the columns, from 1 */

/* One row into f (id, sizes, boxes as shares, features); `where` ("FILE:LINE") begins each message. The text is not changed. */
int tsv_parse(struct features *f, const char *row, size_t n, const char *where, struct err *err);
/* The byte of a good row at which number i of its features begins. */
size_t tsv_feature_byte(const char *row, size_t n, size_t i);
/* The reverse, with zeros for objects and attributes; a newline ends it. */
int tsv_write(FILE *out, const struct features *f, struct err *err);

#endif
