/*
 * Files that are read whole, that are mapped, that have no name, that appear whole or not at all.
 */
#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int
write_fully(int fd, const void *data, size_t n, const char *name, struct err *err)
{
	const char *p = data;

	while (n) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_sys(err, "%s: cannot write", name);
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

int
check_replaceable(const char *path, struct err *err)
{
	struct stat st;

	return !stat(path, &st) && !S_ISREG(st.st_mode) ? err_set(err, "%s: is there and no regular file", path) : 0;
}

int
new_file_open(struct new_file *file, const char *path, struct err *err)
{
	*file = (struct new_file){ .fd = -1 };
	if (strlen(path) >= sizeof file->path)
		return err_set(err, "%.100s…: the path is too long", path);
	memcpy(file->path, path, strlen(path) + 1);
	if (check_replaceable(path, err))
		return -1;
	snprintf(file->temporary, sizeof file->temporary, "%s.new.%ld", path, (long)getpid());
	file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (file->fd < 0)
		return err_sys(err, "%s: cannot create", path);
	return 0;
}

int
new_file_write(struct new_file *file, const void *data, size_t n, struct err *err)
{
	return write_fully(file->fd, data, n, file->path, err);
}

/* A rename lasts when its folder is on the disk. */
static int
sync_folder_of(const char *path, struct err *err)
{
	char folder[4096];
	const char *slash = strrchr(path, '/');
	int fd, bad;

	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "%s: cannot open its folder", path);
	bad = fsync(fd) && errno != EINVAL ? err_sys(err, "%s: cannot sync its folder", path) : 0;
	close(fd);
	return bad;
}

int
rename_durably(const char *from, const char *to, struct err *err)
{
	if (rename(from, to))
		return err_sys(err, "%s: cannot rename to '%s'", from, to);
	return sync_folder_of(to, err);
}

int
new_file_commit(struct new_file *file, struct err *err)
{
	if (fsync(file->fd)) {
		err_sys(err, "%s: cannot sync", file->path);
		return new_file_discard(file);
	}
	if (close(file->fd)) {
		file->fd = -1;
		err_sys(err, "%s: cannot write", file->path);
		return new_file_discard(file);
	}
	file->fd = -1;
	if (rename_durably(file->temporary, file->path, err))
		return new_file_discard(file);
	return 0;
}

int
new_file_discard(struct new_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	unlink(file->temporary);
	return -1;
}

/* What the descriptor gives, to its end: 0, 1 if it is over `most` bytes, -1. */
static int
read_all(char **out, size_t *n, int fd, const char *path, size_t most, struct err *err)
{
	size_t size = 1 << 16;
	ssize_t got = 1;

	*out = NULL;
	for (*n = 0; got; *n += got > 0 ? (size_t)got : 0) {
		char *bytes = *out && *n + 1 < size ? *out : realloc(*out, size *= 2);

		if (!bytes)
			return err_set(err, "%s: out of memory", path);
		*out = bytes;
		got = read(fd, bytes + *n, size - *n - 1);
		if (got < 0 && errno != EINTR)
			return err_sys(err, "%s: cannot read", path);
		if (*n > most)
			return 1;
	}
	return 0;
}

int
file_read(char **out, size_t *n, const char *path, size_t most, const char *kind, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), bad;

	if (fd < 0)
		return err_sys(err, "%s: cannot open", path);
	bad = read_all(out, n, fd, path, most, err);
	if (bad > 0)
		bad = err_set(err, "%s: over %zu bytes, expected %s", path, most, kind);
	close(fd);
	if (bad)
		free(*out);
	return bad;
}

int
file_map(uint8_t **base, size_t *size, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO is refused below, not waited for */
	struct stat st;
	void *map = NULL;

	if (fd < 0)
		return err_sys(err, "%s: cannot open", path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, "%s: not a regular file", path);
	}
	if (st.st_size)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return err_sys(err, "%s: cannot map", path);
	*base = map;
	*size = (size_t)st.st_size;
	return 0;
}

void
file_unmap(uint8_t *base, size_t size)
{
	if (base)
		munmap(base, size);
}

void
file_forget(const void *data, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)data + page - 1) / page * page, to = ((uintptr_t)data + bytes) / page * page;

	if (to > from)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

int
file_nameless(struct err *err)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];
	int fd;

	if (!dir || !*dir)
		dir = "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	/* A file system without O_TMPFILE. */
	if (snprintf(path, sizeof path, "%s/vqa-XXXXXX", dir) >= (int)sizeof path)
		return err_set(err, "TMPDIR: path of %zu bytes, expected at most %zu", strlen(dir), sizeof path - 12);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "temporary file in '%s'", dir);
	unlink(path);
	return fd;
}
