/*
 * Small JSON files that are read whole.
 */
#ifndef VQA_SYS_JSON_FILE_H
#define VQA_SYS_JSON_FILE_H

#include <jansson.h>
#include <stddef.h>

#include "sys/err.h"

/* The value of a file of at most `most` bytes, the caller's; NULL, also where a key is there twice. kind as for file_read. */
json_t *json_file_read(const char *path, size_t most, const char *kind, struct err *err);

#endif
