/*
 * One launch over a list of tensors: each has blocks of its own, as many as its n elements need, those of the first tensor first. The
 * device has a copy of the list, and behind it where each tensor's blocks begin.
 */
#ifndef VQA_OP_CUDA_TENSORS_H
#define VQA_OP_CUDA_TENSORS_H

#include "op/cuda/columns.h"

constexpr size_t CHUNK = 1 << 13; /* elements of a block */
constexpr size_t STRIDE = COLUMNS * THREADS;

/* On the device. T, what a kernel needs of a tensor, has an n. */
template <typename T> struct tensors {
	const T *at;      /* (count); NULL where they cannot be had */
	const int *first; /* (count + 1): a tensor's first block */
	int count, blocks;
};

template <typename T>
static inline size_t
tensors_bytes(int count)
{
	return (size_t)count * sizeof(T) + ((size_t)count + 1) * sizeof(int);
}

/* On the host, to be filled and sent. NULL (and a fault) when there is no memory. */
template <typename T>
static inline T *
tensors_room(int count)
{
	return (T *)cuda_host_scratch(tensors_bytes<T>(count));
}

/* host (count) is what tensors_room() gave. The device's copy is good until the next is sent. */
template <typename T>
static inline tensors<T>
tensors_send(T *host, int count)
{
	int *first = (int *)(host + count);
	T *there = (T *)cuda_scratch(SCRATCH_TENSORS, tensors_bytes<T>(count));

	if (!there)
		return {};
	first[0] = 0;
	for (int i = 0; i < count; i++)
		first[i + 1] = first[i] + (int)((host[i].n + CHUNK - 1) / CHUNK);
	cuda_put(there, host, tensors_bytes<T>(count));
	return { there, (const int *)(there + count), count, first[count] };
}

/* The same of a list that kernels read as it is. */
template <typename T>
static inline tensors<T>
tensors_copy(const T *list, int count)
{
	T *host = tensors_room<T>(count);

	if (!host)
		return {};
	memcpy(host, list, (size_t)count * sizeof *host);
	return tensors_send(host, count);
}

/* What a thread has of a tensor: the pieces at begin, begin + STRIDE, … before end. */
struct chunk {
	int tensor;
	size_t begin, end;
};

template <typename T>
static __device__ inline struct chunk
own_chunk(struct tensors<T> all)
{
	const int tensor = place_of(all.first, all.count, (int)blockIdx.x);
	const size_t from = (size_t)((int)blockIdx.x - all.first[tensor]) * CHUNK, n = all.at[tensor].n;

	return { tensor, from + COLUMNS * threadIdx.x, n - from < CHUNK ? n : from + CHUNK };
}

#endif
