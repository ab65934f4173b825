/*
 * An array of an .npz file: numpy's .npy format, versions 1 to 3, of numbers and strings; never of Python objects.
 *
 *     "\x93NUMPY", u8 version, u8 0, header's length (u16; u32 from version 2), header, data
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (36, 2048), }
 */
#ifndef VQA_FEAT_NPY_H
#define VQA_FEAT_NPY_H

#include "sys/unzip.h"

enum { NPY_DIMS = 3 };

struct npy {
	char name[64];
	char type; /* as in descr: f, i, u, U, S … */
	int item;  /* bytes of one */
	int fortran, dims;
	uint64_t shape[NPY_DIMS], count; /* count: of all items */
	struct unzip in;                 /* at the items that come next */
};

/* The entry's checksum is checked first. Names the array in messages. It must not be moved. */
int npy_open(struct npy *array, const uint8_t *bytes, const struct zip_entry *entry, struct err *err);
void npy_close(struct npy *array);

/* Whether its items are what the next functions take. */
int npy_is_real(const struct npy *array);    /* f2, f4, f8 */
int npy_is_integer(const struct npy *array); /* i or u, 1 to 8 bytes */
int npy_is_text(const struct npy *array);    /* U or S */

/*
 * The next rows x columns items as floats: out is (rows, columns). If transposed they come as (columns, rows). f8 is rounded; what is too
 * large becomes infinite.
 */
int npy_read_floats(float *out, struct npy *array, size_t rows, size_t columns, int transposed, struct err *err);
/* The next integer; what does not fit is the largest. */
int npy_read_integer(int64_t *out, struct npy *array, struct err *err);
/* The next string, as UTF-8 with a NUL, or integer in decimal; one that has over size - 1 bytes or a NUL in it is empty. */
int npy_read_text(char *out, size_t size, struct npy *array, struct err *err);

#endif
