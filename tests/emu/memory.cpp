/*
 * Memory that kernels reach. What cudaMalloc() gives lies in a file in memory, so that another process can map it; each
 * allocation has its own pages:
 *
 *     closed page | poisoned … | base … size | poisoned, less than 256 | closed page, poisoned too
 *
 * New memory holds NaN bytes. Freed memory stays closed for some time. Poisoned means: under AddressSanitizer. With
 * VQA_EMU_CLOSED=1 device memory is closed but while a kernel, a copy or a library's call runs.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>

#include "emu.h"

constexpr size_t QUARANTINE = 4096; /* freed allocations whose addresses are not used again */

static size_t used;

std::map<const char *, struct emu_memory> &
emu_memories(void)
{
	/* Never destroyed: exit() may come before the last call. */
	static auto *memories = new std::map<const char *, struct emu_memory>;

	return *memories;
}

struct emu_memory *
emu_memory_find(const void *p)
{
	auto &all = emu_memories();
	auto after = all.upper_bound((const char *)p);
	struct emu_memory *m;

	if (after == all.begin())
		return NULL;
	m = &(--after)->second;
	return (const char *)p <= m->base + m->size ? m : NULL;
}

void
emu_check_device(const char *call, const char *what, const void *p, size_t size)
{
	const struct emu_memory *m = emu_memory_find(p);

	if (!m || m->kind > EMU_OPENED)
		emu_die("%s: %s %p is not device memory", call, what, p);
	if (size > (size_t)(m->base + m->size - (const char *)p))
		emu_die("%s: %s %p and %zu bytes pass the end of allocation %p of %zu bytes", call, what, p, size,
		        (void *)m->base, m->size);
}

/* Whether the host's own code must not touch device memory. */
static int
closed_to_host(void)
{
	const char *said = getenv("VQA_EMU_CLOSED");

	return said && !strcmp(said, "1");
}

static void
protect(const struct emu_memory *m, int open)
{
	if (m->kind <= EMU_OPENED && mprotect(m->map, m->map_size, open ? PROT_READ | PROT_WRITE : PROT_NONE))
		emu_die("device memory cannot be %s", open ? "opened" : "closed");
}

emu_device_open::emu_device_open(void)
{
	if (closed_to_host())
		for (auto &[base, m] : emu_memories()) {
			protect(&m, 1);
			opened.push_back(&m);
		}
}

emu_device_open::emu_device_open(const void *p, const void *q)
{
	if (closed_to_host())
		for (const struct emu_memory *m : { emu_memory_find(p), emu_memory_find(q) })
			if (m) {
				protect(m, 1);
				opened.push_back(m);
			}
}

emu_device_open::~emu_device_open(void)
{
	for (const struct emu_memory *m : opened)
		protect(m, 0);
}

/* A child of fork() must not share its parent's. */
static int
file(size_t **top)
{
	static int fd = -1;
	static pid_t owner;
	static size_t end;

	if (owner != getpid()) {
		fd = memfd_create("emulated CUDA memory", MFD_CLOEXEC);
		owner = getpid();
		end = 0;
	}
	*top = &end;
	return fd;
}

static size_t
rounded(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

struct emu_memory *
emu_memory_map(int kind, int fd, long offset, size_t size)
{
	size_t page = (size_t)getpagesize(), whole = rounded(size, page);
	int prot = PROT_READ | PROT_WRITE, flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	char *around =
		(char *)mmap(NULL, whole + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct emu_memory m = {};

	if (around == MAP_FAILED)
		return NULL;
	m.map = around + page;
	if (mmap(m.map, whole, prot, flags, fd, fd < 0 ? 0 : offset) == MAP_FAILED) {
		munmap(around, whole + 2 * page);
		return NULL;
	}
	m.kind = kind;
	m.map_size = whole;
	m.size = size;
	m.base = m.map + whole - rounded(size, EMU_ALIGNMENT);
	m.fd = fd;
	m.offset = offset;
	ASAN_POISON_MEMORY_REGION(around, (size_t)(m.base - around));
	ASAN_POISON_MEMORY_REGION(m.base + size, (size_t)(around + whole + 2 * page - m.base) - size);
	return &emu_memories().emplace(m.base, m).first->second;
}

void
emu_memory_unmap(struct emu_memory *m)
{
	static std::deque<std::pair<char *, size_t>> closed;
	size_t page = (size_t)getpagesize();

	ASAN_POISON_MEMORY_REGION(m->map, m->map_size);
	mmap(m->map, m->map_size, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	closed.emplace_back(m->map, m->map_size);
	if (closed.size() > QUARANTINE) {
		auto [map, size] = closed.front();

		closed.pop_front();
		ASAN_UNPOISON_MEMORY_REGION(map - page, size + 2 * page);
		munmap(map - page, size + 2 * page);
	}
	emu_memories().erase(m->base);
}

cudaError_t
cudaMalloc(void **p, size_t size)
{
	size_t *top, whole = rounded(size, (size_t)getpagesize());
	int fd = file(&top);
	struct emu_memory *m;

	if (emu_device())
		return cudaErrorNoDevice;
	if (!p)
		return emu_error(cudaErrorInvalidValue);
	*p = NULL;
	if (!size)
		return cudaSuccess;
	if (size > emu_device_memory() - used || fd < 0 || ftruncate(fd, (off_t)(*top + whole)))
		return emu_error(cudaErrorMemoryAllocation);
	m = emu_memory_map(EMU_DEVICE, fd, (long)*top, size);
	if (!m)
		return emu_error(cudaErrorMemoryAllocation);
	*top += whole;
	used += size;
	memset(m->base, 0xff, size);
	if (closed_to_host())
		protect(m, 0);
	*p = m->base;
	return cudaSuccess;
}

/* What lies there exactly and is of that kind. */
static struct emu_memory *
find_base(const void *p, int kind)
{
	struct emu_memory *m = emu_memory_find(p);

	return m && m->base == p && m->kind == kind ? m : NULL;
}

cudaError_t
cudaFree(void *p)
{
	struct emu_memory *m = find_base(p, EMU_DEVICE);

	if (emu_device())
		return cudaErrorNoDevice;
	if (!p)
		return cudaSuccess;
	if (!m)
		return emu_error(cudaErrorInvalidValue);
	emu_late_finish_all();
	used -= m->size;
	fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, m->offset, (off_t)m->map_size);
	emu_memory_unmap(m);
	return cudaSuccess;
}

cudaError_t
cudaHostAlloc(void **p, size_t size, unsigned flags)
{
	struct emu_memory *m;

	if (emu_device())
		return cudaErrorNoDevice;
	if (!p || flags & ~7u)
		return emu_error(cudaErrorInvalidValue);
	*p = NULL;
	if (!size)
		return cudaSuccess;
	m = emu_memory_map(EMU_PINNED, -1, 0, size);
	if (!m)
		return emu_error(cudaErrorMemoryAllocation);
	memset(m->base, 0xff, size);
	*p = m->base;
	return cudaSuccess;
}

cudaError_t
cudaMallocHost(void **p, size_t size)
{
	return cudaHostAlloc(p, size, cudaHostAllocDefault);
}

cudaError_t
cudaFreeHost(void *p)
{
	struct emu_memory *m = find_base(p, EMU_PINNED);

	if (emu_device())
		return cudaErrorNoDevice;
	if (!p)
		return cudaSuccess;
	if (!m)
		return emu_error(cudaErrorInvalidValue);
	emu_late_finish_all();
	emu_memory_unmap(m);
	return cudaSuccess;
}

cudaError_t
cudaHostRegister(void *p, size_t size, unsigned flags)
{
	struct emu_memory m = {};

	if (emu_device())
		return cudaErrorNoDevice;
	if (!p || !size || flags & ~15u)
		return emu_error(cudaErrorInvalidValue);
	m.kind = EMU_REGISTERED;
	m.base = (char *)p;
	m.size = size;
	for (auto &[base, other] : emu_memories())
		if (m.base < other.base + other.size && other.base < m.base + size)
			return emu_error(cudaErrorHostMemoryAlreadyRegistered);
	emu_memories().emplace(m.base, m);
	return cudaSuccess;
}

cudaError_t
cudaHostUnregister(void *p)
{
	if (emu_device())
		return cudaErrorNoDevice;
	if (!find_base(p, EMU_REGISTERED))
		return emu_error(cudaErrorHostMemoryNotRegistered);
	emu_late_finish_all();
	emu_memories().erase((const char *)p);
	return cudaSuccess;
}

cudaError_t
cudaMemGetInfo(size_t *free, size_t *total)
{
	if (emu_device())
		return cudaErrorNoDevice;
	*total = emu_device_memory();
	*free = *total - used;
	return cudaSuccess;
}
