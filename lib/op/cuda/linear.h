/*
 * Of linear layers, what layer norm needs, too.
 */
#ifndef VQA_OP_CUDA_LINEAR_H
#define VQA_OP_CUDA_LINEAR_H

/* out (n) written, or added to if add, = over the rows of x (rows, n), in order, x or x times y; y may be NULL. */
void cuda_column_sums(float *out, const float *x, const float *y, int rows, int n, int add);

#endif
