/*
 * The bytes of an archive's entry one after the other, stored or deflated, with little memory.
 */
#ifndef VQA_SYS_UNZIP_H
#define VQA_SYS_UNZIP_H

#include <zlib.h>

#include "sys/zip.h"

struct unzip {
	const struct zip_entry *entry;
	const uint8_t *data; /* (entry->n), as packed */
	uint64_t done;       /* bytes given */
	uint32_t crc;        /* of them */
	int deflated;        /* stream is there to be ended */
	z_stream stream;
};

/* bytes are the archive's; they and the entry are kept. It must not be moved. */
int unzip_open(struct unzip *in, const uint8_t *bytes, const struct zip_entry *entry, struct err *err);
/* The next n bytes; fewer are a fault. */
int unzip_read(struct unzip *in, void *out, size_t n, struct err *err);
/* Nothing is left, and what was given has the archive's checksum. */
int unzip_end(struct unzip *in, struct err *err);
void unzip_close(struct unzip *in);

/* The whole entry is read and compared with its size and checksum. */
int unzip_check(const uint8_t *bytes, const struct zip_entry *entry, struct err *err);

#endif
