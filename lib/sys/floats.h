/*
 * Many floats at once: whether they are finite, to 16 bits and back. All are read where they lie, without alignment.
 */
#ifndef VQA_SYS_FLOATS_H
#define VQA_SYS_FLOATS_H

#include <stddef.h>
#include <stdint.h>

/* The index of the first of n floats x with |x| >= limit or not a number; n if there is none. */
size_t first_beyond(const void *x, size_t n, float limit);
/* The index of the first that is not finite; n if all are. */
size_t first_not_finite(const void *x, size_t n);
/* The same of halves (IEEE 754 binary16). */
size_t first_half_not_finite(const void *x, size_t n);
/* As half_to_float(). */
void halves_to_floats(float *out, const void *in, size_t n);
/* As float_to_half(). out may be in. */
void floats_to_halves(void *out, const void *in, size_t n);

#endif
