/*
 * CRC-32 as zlib has it, by carry-less multiplication where the processor has that.
 */
#ifndef VQA_SYS_CRC_H
#define VQA_SYS_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Over n more bytes; begin with 0. */
uint32_t crc_32(uint32_t crc, const void *data, size_t n);

#endif
