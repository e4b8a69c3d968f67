/*
 * The format of a segment of the spool (usage/spool.h): its header, its records, and the search for the next record
 * that is whole. Pure: bytes in, bytes out. Numbers are big endian.
 *
 *     header  magic "GWUSAGE\n" | version 4 | agent 16 | number 8 | previous 8 | CRC-32 of all before 4
 *     record  magic d7 1e | length of the text 2 | CRC-32 of length and text 4 | text
 *
 * The text of a record (usage/record.h) holds no byte above 0x7e, so that no record begins within another.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "usage/spool.h"

#define SEGMENT_VERSION     1
#define SEGMENT_HEADER      48 /* bytes of the header */
#define SEGMENT_RECORD_HEAD 8  /* bytes of a record before its text */
#define SEGMENT_RECORD_MAX  (SEGMENT_RECORD_HEAD + USAGE_TEXT_MAX)

struct segment_header {
	char agent[USAGE_AGENT_LEN]; /* without NUL */
	uint64_t number;
	uint64_t previous; /* the number of the segment before it; 0: it is the first */
};

/* Whether it is an agent's name: 16 digits of lower-case hex. */
bool segment_agent_valid(struct sv name);

void segment_header_write(uint8_t out[SEGMENT_HEADER], const struct segment_header *h);

/* ERR_INCOMPLETE: shorter than a header; ERR_CORRUPT: not a header, or damaged; ERR_VERSION: whole, of another version.
 */
MUST_CHECK enum err segment_header_read(const void *p, size_t n, struct segment_header *out);

/* Writes a record of a text of 1 to USAGE_TEXT_MAX bytes to `out`, which has the room; its size. */
size_t segment_record_write(uint8_t *out, struct sv text);

/*
 * The record that begins at p: its text, a view of p, and its size. ERR_INCOMPLETE: the n bytes may be its beginning;
 * ERR_CORRUPT: none begins here.
 */
MUST_CHECK enum err segment_record_read(const void *p, size_t n, struct sv *text, size_t *size);

/*
 * The first offset at or behind `from` at which a record begins, or may begin as far as the bytes go; n without one.
 * `last`: no more bytes follow, so only a record that is whole counts.
 */
size_t segment_scan(const void *p, size_t n, size_t from, bool last);
