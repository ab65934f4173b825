/*
 * LMDB's file as it lies on the disk, read without believing it: the library itself ends a program that reads a damaged file.
 * One lookup from the root of the main database; every page, offset and length is checked before it is followed.
 *
 *     page    u64 number, u16 unused, u16 flags, u16 end of the offsets, u16 begin of the nodes | overflow: u32 pages
 *             u16 offsets of the nodes, in the order of their keys; the nodes
 *     node    u16 low, u16 high, u16 flags, u16 key's bytes; key, value
 *             leaf: low and high are the value's bytes; with BIG the value is the u64 number of its overflow pages
 *             branch: low, high and flags are the child's number; the first key counts as less than all
 *     pages 0 and 1: the roots (lmdb's mdb.c, struct MDB_meta), the one of the later transaction counts
 */
#ifndef VQA_FEAT_PAGES_H
#define VQA_FEAT_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "sys/err.h"

/* At byte 16 of the file. */
#define STORE_MAGIC 0xBEEFC0DEu

struct pages {
	const uint8_t *base; /* the file, mapped */
	uint64_t size;
	uint32_t page;    /* bytes of one */
	uint64_t count;   /* pages that are in use */
	uint64_t root;    /* of the main database */
	const char *path; /* for messages; the caller's */
};

/* The file is whole to its last page: 0, or -1. */
int pages_open(struct pages *pages, const char *path, struct err *err);
/* 1 and the value, 0 where there is no such key, -1 where the file is damaged. */
int pages_find(const struct pages *pages, const void *key, size_t n, const uint8_t **value, size_t *value_n,
               struct err *err);
void pages_close(struct pages *pages);

#endif
