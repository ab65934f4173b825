/*
 * What the fuzz targets share. A target is a parser fed with any bytes; what must hold for all of them is said with must().
 * libFuzzer makes up the bytes (`make fuzz-run`), replay.c takes those of the corpus (`make check`).
 */
#ifndef VQA_FUZZ_H
#define VQA_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void
must(int holds)
{
	if (!holds)
		abort();
}

/* Every fault has words, on one line. */
static inline void
must_say(const char *words)
{
	must(words[0] && !strpbrk(words, "\n\r"));
}

/* A file in memory, at its begin; the caller closes it. */
static inline int
memory_file(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", 0);

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* Under which it can be opened. */
static inline void
memory_path(char path[64], int fd)
{
	snprintf(path, 64, "/proc/self/fd/%d", fd);
}

/* Bytes of their own, so that a read past their end is seen. */
static inline uint8_t *
copy_of(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	must(copy != NULL);
	memcpy(copy, data, size);
	return copy;
}

#endif
