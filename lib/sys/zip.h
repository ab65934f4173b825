/*
 * A zip archive that lies in memory, as torch.save and numpy write it: stored entries are used where they are, sys/unzip.h reads
 * those that are compressed too. zip64 is read. The archive owns its list; names and data are the memory's.
 *
 *     local header, name, extra, data | … | central directory: one record an entry | zip64 end, its locator | end
 *
 * An archive that was opened has been checked whole: every entry's header and data lie before the directory, none overlap, and no
 * name is there twice. Checksums are not looked at here: torch can write files without them.
 */
#ifndef VQA_SYS_ZIP_H
#define VQA_SYS_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

struct zip_entry {
	const char *name; /* (name_n), without an end */
	size_t name_n;
	size_t header, at, n; /* the local header, the data, and their bytes */
	uint64_t size;        /* bytes when unpacked, and the CRC-32 of those */
	uint32_t crc;
	int method, flags;
};

struct zip {
	struct zip_entry *list; /* in order of name */
	size_t n;
	const char *folder; /* (folder_n): of the directory's first entry, without its slash */
	size_t folder_n;
};

int zip_open(struct zip *zip, const uint8_t *bytes, size_t size, struct err *err);
void zip_close(struct zip *zip);
/* NULL if there is none. */
const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t name_n);
/* An entry that is compressed or encrypted is an error. */
int zip_check_stored(const struct zip_entry *entry, struct err *err);

#endif
