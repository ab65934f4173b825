/*
 * The images of an .npz file (a zip archive of numpy's arrays), one or many; vqa-featpack(1) has the arrays' names.
 */
#ifndef VQA_FEAT_NPZ_H
#define VQA_FEAT_NPZ_H

#include "feat/features.h"
#include "feat/npy.h"

enum npz_array { NPZ_ID, NPZ_FEATURES, NPZ_BOXES, NPZ_WIDTH, NPZ_HEIGHT, NPZ_COUNT, NPZ_ARRAYS };

struct npz {
	int fd;
	const char *path;
	const uint8_t *bytes; /* the file, mapped; NULL before the first image */
	size_t size;
	struct zip zip;
	const struct zip_entry *entries[NPZ_ARRAYS]; /* NULL: the array is not there */
	struct npy arrays[NPZ_ARRAYS];
	int many;                /* the first dimension counts images */
	uint64_t images, at;     /* at: of the next image */
	uint64_t R, F;           /* of each image */
	int transposed_features; /* (F, R) for (R, F) */
	int transposed_boxes;
	int ended;
};

/* The descriptor becomes its own; the path is kept. The file is looked at by npz_next(). It must not be moved. */
void npz_open(struct npz *npz, int fd, const char *path);
/* 1: an image, or *bad and its fault, with `where` it is; 0: no more. What is wrong with the file is one fault, its last. */
int npz_next(struct npz *npz, struct features *f, char *where, size_t where_size, int *bad, struct err *fault);
void npz_close(struct npz *npz);

#endif
