/*
 * Device memory of another process. A handle says which file of which process and where in it; /proc opens it as long
 * as that process lives, and what is mapped stays.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu.h"

struct handle {
	char magic[8];
	int pid, fd;
	uint64_t inode, offset, size;
};

static_assert(sizeof(struct handle) <= CUDA_IPC_HANDLE_SIZE);

static const char magic[8] = "vqaemu1";

cudaError_t
cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *p)
{
	const struct emu_memory *m = emu_memory_find(p);
	struct handle h = {};
	struct stat st;

	if (emu_device())
		return cudaErrorNoDevice;
	if (!m || m->kind != EMU_DEVICE || fstat(m->fd, &st))
		return emu_error(cudaErrorInvalidValue);
	memcpy(h.magic, magic, sizeof h.magic);
	h.pid = getpid();
	h.fd = m->fd;
	h.inode = st.st_ino;
	h.offset = (uint64_t)m->offset;
	h.size = m->size;
	memset(handle, 0, sizeof *handle);
	memcpy(handle, &h, sizeof h);
	return cudaSuccess;
}

cudaError_t
cudaIpcOpenMemHandle(void **p, cudaIpcMemHandle_t handle, unsigned flags)
{
	struct emu_memory *m = NULL;
	char path[64];
	struct handle h;
	struct stat st;
	int fd;

	memcpy(&h, &handle, sizeof h);
	if (emu_device())
		return cudaErrorNoDevice;
	if (!p || flags != cudaIpcMemLazyEnablePeerAccess)
		return emu_error(cudaErrorInvalidValue);
	if (memcmp(h.magic, magic, sizeof h.magic))
		return emu_error(cudaErrorInvalidResourceHandle);
	if (h.pid == getpid())
		return emu_error(cudaErrorDeviceUninitialized);
	for (auto &[base, other] : emu_memories())
		if (other.kind == EMU_OPENED && !memcmp(&other.handle, &handle, sizeof handle)) {
			other.opened++;
			*p = other.base;
			return cudaSuccess;
		}
	snprintf(path, sizeof path, "/proc/%d/fd/%d", h.pid, h.fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return emu_error(cudaErrorInvalidResourceHandle);
	if (!fstat(fd, &st) && st.st_ino == h.inode && (uint64_t)st.st_size >= h.offset + h.size)
		m = emu_memory_map(EMU_OPENED, fd, (long)h.offset, h.size);
	close(fd);
	if (!m)
		return emu_error(cudaErrorInvalidResourceHandle);
	m->fd = -1;
	m->opened = 1;
	m->handle = handle;
	*p = m->base;
	return cudaSuccess;
}

cudaError_t
cudaIpcCloseMemHandle(void *p)
{
	struct emu_memory *m = emu_memory_find(p);

	if (emu_device())
		return cudaErrorNoDevice;
	if (!m || m->kind != EMU_OPENED || m->base != p)
		return emu_error(cudaErrorInvalidValue);
	if (!--m->opened)
		emu_memory_unmap(m);
	return cudaSuccess;
}
