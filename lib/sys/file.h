/*
 * A file that appears whole or not at all: written under a temporary name in the same folder, then fsync and rename. On any
 * fault the temporary file goes and what was at the path is still there.
 */
#ifndef VQA_SYS_FILE_H
#define VQA_SYS_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

struct new_file {
	int fd;
	char path[4096];
	char temporary[4096 + 32];
};

/* A rename to path would replace a device or a folder: an error. */
int check_replaceable(const char *path, struct err *err);
int new_file_open(struct new_file *file, const char *path, struct err *err);
int new_file_write(struct new_file *file, const void *data, size_t n, struct err *err);
/* fsync, rename, fsync of the folder; closes. */
int new_file_commit(struct new_file *file, struct err *err);
/* Removes the temporary file; always returns -1, so that a failure can end with it. */
int new_file_discard(struct new_file *file);

/* All of a file, malloc'd, with room for one more byte; -1 if it has over `most` bytes. `kind` is for that message. */
int file_read(char **out, size_t *n, const char *path, size_t most, const char *kind, struct err *err);
/* A regular file's bytes, read-only, private; an empty file has none, *base NULL. */
int file_map(uint8_t **base, size_t *size, const char *path, struct err *err);
void file_unmap(uint8_t *base, size_t size);
/* These bytes of a mapped file will not be read soon: they need not stay in memory. */
void file_forget(const void *data, size_t bytes);
/* A new file without a name, in TMPDIR or /tmp; its descriptor, or -1. */
int file_nameless(struct err *err);

/* Rename with the folder synced after it. */
int rename_durably(const char *from, const char *to, struct err *err);
/* write() until all is written, through EINTR and short writes; name is for the message. */
int write_fully(int fd, const void *data, size_t n, const char *name, struct err *err);

#endif
