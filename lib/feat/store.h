/*
 * A store: an LMDB file (one file, no lock file for readers) with a value an image.
 *
 * Key: the image's id. Value: a head of 32 bytes, little endian, then boxes f32 (R, 4) and features (R, F):
 *
 *     u32 R, u32 F, u32 type (0 f32, 1 f16), u32 crc (CRC-32 of boxes and features), u32 width, u32 height, u64 0
 *
 * Key "\0vqa": JSON {"version":1, "images":…, "features":F, "objects":R, "source":…}; it is written last.
 */
#ifndef VQA_FEAT_STORE_H
#define VQA_FEAT_STORE_H

#include <lmdb.h>
#include <stdint.h>

#include "feat/features.h"
#include "feat/pages.h"

struct store {
	char path[4096];
	struct pages pages; /* while reading */
	int64_t images;
	int features, objects;
	char source[256];
	/* While writing: */
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	char temporary[4096 + 32];
	int pending; /* images in this transaction */
};

/* Open to read: checks the file's size against its last page, and what the store says of itself. */
int store_open(struct store *store, const char *path, struct err *err);
/* An image's features into f; 1, 0 if the store lacks it, -1 if it is broken (its CRC is checked). */
int store_get(struct store *store, const char *id, size_t n, struct features *f, struct err *err);
void store_close(struct store *store);

/* A new store at path, under a temporary name until store_commit(). */
int store_create(struct store *store, const char *path, const char *source, struct err *err);
int store_put(struct store *store, const struct features *f, struct err *err);
int store_commit(struct store *store, struct err *err);
/* Always returns -1. */
int store_discard(struct store *store);

#endif
