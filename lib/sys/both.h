/*
 * For functions of a header that CUDA's kernels call, too: static BOTH inline.
 */
#ifndef VQA_SYS_BOTH_H
#define VQA_SYS_BOTH_H

#ifdef __CUDACC__
#define BOTH __host__ __device__
#else
#define BOTH
#endif

#endif
