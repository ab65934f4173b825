/*
 * Measures one msgpack value without unpacking it: where it ends, how many objects it holds, how deep it goes.
 * Never recurses, never allocates, never believes a length.
 */
#ifndef VQA_STREAM_SCAN_H
#define VQA_STREAM_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "stream/record.h"

enum scan_result {
	SCAN_WHOLE,   /* *end is the value's length in bytes */
	SCAN_MORE,    /* the bytes end before the value does */
	SCAN_BAD,     /* no msgpack: the byte 0xc1 */
	SCAN_OBJECTS, /* over OBJECTS_MAX objects */
	SCAN_DEPTH,   /* over DEPTH_MAX levels */
	SCAN_SIZE,    /* over RECORD_MAX bytes, by what it announces */
};

struct scan {
	size_t at;                /* bytes understood so far; the scan goes on from here when more have come */
	uint64_t left[DEPTH_MAX]; /* values still to come at each level */
	int depth;
	uint32_t objects;
};

void scan_begin(struct scan *scan);
enum scan_result scan_go(struct scan *scan, const uint8_t *bytes, size_t n, size_t *end);

#endif
