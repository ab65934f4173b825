/*
 * Products in bf16 on the tiles of Intel's AMX, of a processor and a kernel that have them.
 */
#ifndef VQA_OP_CPU_AMX_H
#define VQA_OP_CPU_AMX_H

#include "op/cpu/matmul.h"

int amx_here(void);

/* Bytes of b (K, N) in the order in which amx_multiply() reads it. */
size_t amx_packed_size(int K, int N);
/* out = b, of bf16s, in that order */
void amx_pack(bf16 *out, const struct matrix *b, int K, int N);

/* The product with all that comes after it; a and b are bf16s, packed is not looked at. */
void amx_multiply(const struct product *);

#endif
