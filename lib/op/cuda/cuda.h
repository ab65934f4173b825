/*
 * The functions of the CUDA backend, and what its files know of the device. What only kernels need is in kernel.h.
 *
 * One stream carries everything but send(), in the order in which it was asked for; send() has a stream of its own, and arrive() makes the
 * first wait for it. What waits for the device: get, fetched, sumsq, sync, the making of memory, and what comes from the host while the
 * device still reads what came before. A call that fails leaves the first fault for sync() and fetched().
 */
#ifndef VQA_OP_CUDA_CUDA_H
#define VQA_OP_CUDA_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "op/op.h"

/* round: *device counts round the devices that there are, and becomes the one that it comes to. */
int cuda_open(int *device, int round, struct err *err);
const char *cuda_device_name(void);
void cuda_embedding(const struct embedding *);
void cuda_embedding_backward(const struct embedding_backward *);
void cuda_linear(const struct linear *);
void cuda_linear_backward(const struct linear_backward *);
void cuda_activation_backward(const struct activation_backward *);
void cuda_layernorm(const struct layernorm *);
void cuda_layernorm_backward(const struct layernorm_backward *);
void cuda_average(const struct average *);
void cuda_average_backward(const struct average_backward *);
void cuda_attention(const struct attention *);
void cuda_attention_backward(const struct attention_backward *);
void cuda_gather(const struct gather *);
void cuda_gather_backward(const struct gather_backward *);
void cuda_add(float *y, const float *x, size_t n);
void cuda_narrow(bf16 *out, const float *x, size_t n);
void cuda_sumsq(double *sums, const float *const *x, const size_t *n, int count);
void cuda_lamb(const struct lamb *list, int count);
void cuda_adamw(const struct adamw *list, int count);
void cuda_lookahead(const struct lookahead *list, int count);
void cuda_clamp(const struct clamp *list, int count);
struct packed *cuda_pack(const struct pack *);
void cuda_pack_free(struct packed *);
int cuda_has(enum precision);
void *cuda_alloc(size_t bytes);
void cuda_free(void *);
void cuda_put(void *dst, const void *host, size_t bytes);
void cuda_get(void *host, const void *src, size_t bytes);
void cuda_send(void *dst, const void *host, size_t bytes);
void cuda_arrive(void);
void cuda_fetch(int turn, const void *src, size_t bytes);
const void *cuda_fetched(int turn, struct err *err);
void cuda_copy(void *dst, const void *src, size_t bytes);
void cuda_zero(void *dst, size_t bytes);
int cuda_lend(const void *memory, struct loan *loan, struct err *err);
void *cuda_borrow(const struct loan *loan, struct err *err);
void cuda_give_back(void *memory);
int cuda_ranks_meet(struct meeting *out, struct err *err);
int cuda_ranks_join(const struct meeting *meeting, int rank, int ranks, struct err *err);
void cuda_ranks_mean(float *x, size_t n);
/* Of sync(): until the stream is empty. -1 if what it waits for will not come; without ranks at once. */
int cuda_ranks_wait(void);
int cuda_sync(struct err *err);

#ifdef __cplusplus
}
#endif

#endif
