/*
 * A store: an LMDB file (one file, no lock file for readers) with a value an image.
 *
 * Key: the image's id. Value: a head of 32 bytes, little endian, then boxes f32 (R, 4) and features (R, F):
 *
 *     u32 R, u32 F, u32 type (0 f32, 1 f16), u32 crc, u32 width, u32 height, u64 0
 *
 * crc is the CRC-32 of the id, the head with a crc of 0, boxes and features; in version 1 of boxes and features only.
 *
 * Key "\0vqa": JSON {"version":2, "images":…, "features":F, "objects":R, "source":…}; it is written last.
 */
#ifndef VQA_FEAT_STORE_H
#define VQA_FEAT_STORE_H

#include <lmdb.h>
#include <stdint.h>

#include "feat/features.h"

/* LMDB's, at byte 16 of its files (lmdb's mdb.c, struct MDB_meta). */
#define STORE_MAGIC 0xBEEFC0DEu

struct store {
	char path[4096];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	int version;
	int64_t images;
	int features, objects;
	char source[256];
	/* While writing: */
	char temporary[4096 + 32];
	int fd;         /* of the temporary file, with a lock on it */
	size_t pending; /* bytes in this transaction */
};

/* Whether a regular file begins as LMDB's do. */
int store_begins(int fd);
/* Open to read: checks the file (feat/store_check.h) and what the store says of itself. */
int store_open(struct store *store, const char *path, struct err *err);
/* An image's features into f; 1, 0 if the store lacks it, -1 if it is broken (its CRC is checked). */
int store_get(struct store *store, const char *id, size_t n, struct features *f, struct err *err);
void store_close(struct store *store);

/*
 * A new store at path, where nothing or another store may be; until store_commit() it is PATH.new, which is locked: a second writer is
 * refused, and what a killed one left there is written over.
 */
int store_create(struct store *store, const char *path, const char *source, struct err *err);
/* 1: the image cannot be in this store, since another is there with its id, or with other features; -1: the store is at fault. */
int store_put(struct store *store, const struct features *f, struct err *err);
int store_commit(struct store *store, struct err *err);
/* Always returns -1. */
int store_discard(struct store *store);

#endif
