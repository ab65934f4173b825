/*
 * Activations forward, which linear layers end with.
 */
#ifndef VQA_OP_CUDA_ACTIVATION_H
#define VQA_OP_CUDA_ACTIVATION_H

#include "op/op.h"

/* out (n) = act(x), which may be x; out or its twin may be NULL. */
void cuda_activate(float *out, bf16 *out16, const float *x, size_t n, enum activation act);

#endif
