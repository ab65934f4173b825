/*
 * What the emulator's own files share. Nothing here is for the .cu sources.
 */
#ifndef EMU_EMU_H
#define EMU_EMU_H

#include <functional>
#include <map>
#include <vector>

#include "cuda_runtime.h"

#if defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMU_ASAN 1
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define EMU_ASAN 0
#endif

constexpr unsigned EMU_THREADS = 1024;        /* of a block, at most */
constexpr size_t EMU_SHARED = 48 << 10;       /* shared memory of a block, static and dynamic */
constexpr size_t EMU_SHARED_OPTIN = 99 << 10; /* where cudaFuncSetAttribute() asked for it */
constexpr size_t EMU_ALIGNMENT = 256;         /* of cudaMalloc() */

/* One line on stderr: "emu: ", the kernel's block and thread if one runs, the reason; then abort(). */
[[noreturn]] void emu_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Keeps an error for cudaGetLastError() and returns it. */
cudaError_t emu_error(cudaError_t error);
/* The same for a launch; the process ends if nobody asks about it (device.cpp): checked when it exits, and here. */
cudaError_t emu_refuse(const void *kernel, cudaError_t error);
void emu_check_refused(void);
/* cudaErrorNoDevice where there is none, kept. */
cudaError_t emu_device(void);
size_t emu_device_memory(void);

/*
 * symbol.cpp: a function's name, "kernel at 0x…" if it has none; the bytes of its static shared variables; NaN bytes
 * for those of them that are not in the section of shared memory.
 */
const char *emu_function_name(const void *function);
size_t emu_function_shared(const void *function);
void emu_function_fill(const void *function);

/* What a thread waits for, in a barrier or an exchange: where, for whom, what it gives, and what it gets. */
struct emu_wait {
	int kind;
	emu_place at;
	unsigned mask;
	int lane, width;
	uint64_t value, result;
};

/* The exchanges of a block's threads, each thread's in turn. */
typedef std::vector<std::vector<struct emu_wait>> emu_exchanges;

/* exchange.cpp: of lanes (warpSize), NULL outside of the mask, each gets its result; whether two ask for and give the same. */
void emu_exchange(struct emu_wait *const *lanes, unsigned mask, int kind);
int emu_same_exchange(const struct emu_wait *x, const struct emu_wait *y);

/* Mostly the very same bytes; a place in a header is in each file that includes it. */
static inline int
emu_same_place(const emu_place &x, const emu_place &y)
{
	return !memcmp(&x, &y, sizeof x) ||
	       (x.line() == y.line() && x.column() == y.column() && !strcmp(x.file_name(), y.file_name()));
}

/* In which order a block's threads run, and whether they go ahead or in step (fiber.cpp). */
struct emu_order {
	const char *name;
	int ahead;
	unsigned short thread[EMU_THREADS];
};

/*
 * fiber.cpp: runs the threads of one block. In step its exchanges are kept, ahead they are as they were kept; NULL: neither. How far a
 * block has come, for messages, 0 if none runs.
 */
void emu_block_run(const struct emu_call *call, const uint3 *place, const struct emu_order *order,
                   emu_exchanges *exchanges);
int emu_block_place(char *words, size_t size);

/* fault.cpp: between on and off a fault is a kernel's, told with its place. */
void emu_fault_watch(int on);

/* launch.cpp: the kernel that runs, or NULL. */
const struct emu_call *emu_running(void);

/* memory.cpp: memory that kernels reach: cudaMalloc(), another process's, cudaMallocHost(), cudaHostRegister(). */
enum { EMU_DEVICE, EMU_OPENED, EMU_PINNED, EMU_REGISTERED };

struct emu_memory {
	char *base;
	size_t size;
	int kind;
	char *map; /* the pages; those beside them are closed */
	size_t map_size;
	int fd; /* the file that backs EMU_DEVICE, and where in it */
	long offset;
	int opened; /* EMU_OPENED: times, by which handle */
	cudaIpcMemHandle_t handle;
};

/* The live memory that p lies in, its end included; NULL if none. */
struct emu_memory *emu_memory_find(const void *p);
/* All of it, by address. */
std::map<const char *, struct emu_memory> &emu_memories(void);
/*
 * Maps size bytes of a file (fd -1: of none) so that their end lies as near to a closed page as the alignment allows.
 * NULL if it cannot be had.
 */
struct emu_memory *emu_memory_map(int kind, int fd, long offset, size_t size);
void emu_memory_unmap(struct emu_memory *m);
/* Ends the process unless p … p+size is device memory; what names it in the message. */
void emu_check_device(const char *call, const char *what, const void *p, size_t size);

/* While one lives, device memory can be touched: all of it, or that which p and q lie in. */
struct emu_device_open {
	emu_device_open(void);
	emu_device_open(const void *p, const void *q);
	~emu_device_open(void);
	std::vector<const struct emu_memory *> opened;
};

/* snapshot.cpp: the memory that a launch can reach; its bytes kept, put back, compared: a difference is a race, and ends the process. */
std::vector<struct emu_memory *> emu_reached(const struct emu_call *call);
void emu_save(std::vector<char> *to, const std::vector<struct emu_memory *> &memories);
void emu_restore(const std::vector<char> &from, const std::vector<struct emu_memory *> &memories);
void emu_compare(const std::vector<char> &with, const std::vector<struct emu_memory *> &memories, const char *order);

/*
 * late.cpp: what a stream is asked for: work, a copy, to wait for other's work up to a number, or for what never ends; the host waits for
 * a stream's work up to a number, or for everything, or only asks whether there is any. Numbers grow with each work.
 */
void emu_late_do(cudaStream_t stream, std::function<void()> work);
void emu_late_copy(void *dst, const void *src, size_t size, cudaStream_t stream);
void emu_late_wait(cudaStream_t stream, cudaStream_t other, uint64_t number);
void emu_late_never(cudaStream_t stream, const char *why);
bool emu_late_busy(cudaStream_t stream, uint64_t number);
void emu_late_finish(cudaStream_t stream, uint64_t number);
void emu_late_finish_all(void);
uint64_t emu_late_last(void);

/*
 * handle.cpp: the handles that live. What one points to says in NAME what it is, "a stream"; checked for being that, another, or one
 * that was destroyed, ends the process.
 */
void emu_handle_made(const void *handle, const char *name);
void emu_handle_gone(const void *handle);
void emu_handle_check(const char *call, const void *handle, const char *name);

template <typename T>
static inline T *
emu_new_handle(const T &value)
{
	T *handle = new T(value);

	emu_handle_made(handle, T::NAME);
	return handle;
}

template <typename T>
static inline void
emu_check_handle(const char *call, const T *handle)
{
	emu_handle_check(call, handle, T::NAME);
}

template <typename T>
static inline void
emu_delete_handle(const char *call, T *handle)
{
	emu_check_handle(call, handle);
	emu_handle_gone(handle);
	delete handle;
}

/* stream.cpp: whether the default stream waits for it. */
int emu_stream_blocks(cudaStream_t stream);
/* Ends the process unless it is NULL, one of CUDA's own or was created and not destroyed. */
void emu_check_stream(const char *call, cudaStream_t stream);

#endif
