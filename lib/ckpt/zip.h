/*
 * A zip archive that lies in memory, as torch.save writes it: entries are stored, never compressed, so that their bytes are used
 * where they are. zip64 is read. The archive owns its list; names and data are the memory's.
 *
 *     local header, name, extra, data | … | central directory: one record an entry | zip64 end, its locator | end
 *
 * An archive that was opened has been checked whole: every entry's header and data lie before the directory, none overlap, and no
 * name is there twice. Checksums are not looked at: torch can write files without them.
 */
#ifndef VQA_CKPT_ZIP_H
#define VQA_CKPT_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

struct zip_entry {
	const char *name; /* (name_n), without an end */
	size_t name_n;
	size_t header, at, n; /* the local header, the data, and their bytes */
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
