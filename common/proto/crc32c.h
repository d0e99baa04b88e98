/* CRC32C (Castagnoli), the checksum of records and segment headers.
 *
 * Two ways, by length. Long buffers go to ISA-L, which folds many bytes at once with vector
 * instructions. Most records are about a hundred bytes: there the vector code's set-up costs more
 * than the work, and the CPU's own crc32 instruction (SSE 4.2), eight bytes at a time, nearly
 * doubles what the hub can take (docs/performance.md). Where it is missing ISA-L does all. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of `n` bytes at `p`, going on from `crc`; begin with 0. crc32c(crc32c(0, a), b)
 * is that of both. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* Of a record without the four bytes at offset 4, where its checksum stands. `n` is its size: at
 * least 8, and a multiple of 8. */
uint32_t crc32c_record(const uint8_t *p, size_t n);
