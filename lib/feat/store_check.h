/*
 * Whether a file can be given to LMDB, which believes what its files say.
 */
#ifndef VQA_FEAT_STORE_CHECK_H
#define VQA_FEAT_STORE_CHECK_H

#include "sys/err.h"

/*
 * Walks the tree of the file's newest meta page: every page, node and value lies inside the file, no page leads back to one
 * before it, and nothing but plain keys and values is there. Reads branch and leaf pages only. A file that is changed later
 * is the caller's risk, as with any mapping.
 */
int store_check(const char *path, struct err *err);

#endif
