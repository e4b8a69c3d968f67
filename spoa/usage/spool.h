/*
 * The spool: usage records on the disk until PostgreSQL has them, appended to segments in one folder.
 *
 * A segment is the file `<number>.usage`, the number in 16 hex digits: a header (magic, version, agent, its own number,
 * the number of the segment before it, a checksum), then records, each with a magic byte pair, its length and a CRC-32
 * (zlib) of length and text. Numbers only grow, also over a folder that was emptied: each is at least the Unix time in
 * ms. One process writes; each opening begins a new segment, so that what lies behind a torn end is never guessed at.
 * Empty segments at the end are removed at the next opening. The last segments, deleted while no process has the spool
 * open, cannot be missed; all others are. The file `agent.id` holds the agent's name, 16 hex digits, made once.
 *
 * A record is safe from the death of this process as soon as usage_spool_append() has returned, and from the death of
 * the machine after the next usage_spool_sync().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "usage/record.h"

#define USAGE_AGENT_LEN 16

/* A place in the spool: before the record that begins there. {0, 0} is before all. Ordered by segment, then offset. */
struct usage_position {
	uint64_t segment;
	uint64_t offset;
};

static inline int usage_position_cmp(struct usage_position a, struct usage_position b)
{
	if (a.segment != b.segment)
		return a.segment < b.segment ? -1 : 1;
	return a.offset == b.offset ? 0 : a.offset < b.offset ? -1 : 1;
}

struct usage_spool_config {
	const char *dir;      /* exists, on a local disk; copied */
	size_t segment_bytes; /* when a segment is as long a new one begins */
	unsigned keep; /* shipped segments that stay, so that usage_dedup can be filled from them after a restart */
	/* Something of the spool is lost or odd; `what` is a line for the log. At least so many records were lost: 0
	 * for what is no loss, 1 for a place whose number is not known. May be NULL. */
	void (*damaged)(void *arg, const char *what, uint64_t records);
	void *arg;
};

struct usage_spool;

/*
 * Opens or makes the spool. On an error `error` says what and which file: ERR_EXISTS when another process has it open,
 * ERR_CORRUPT or ERR_NOT_FOUND for the agent's name, ERR_VERSION, ERR_RANGE, ERR_NOMEM, ERR_IO. A disk that is full is
 * none: what is there can be shipped, and the first append tries to begin a segment.
 */
MUST_CHECK enum err usage_spool_open(const struct usage_spool_config *config, struct usage_spool **out, char *error,
                                     size_t error_size);
/* Syncs and closes. NULL is allowed. */
void usage_spool_close(struct usage_spool *s);

/* The agent's name, NUL-terminated; valid until the close. */
const char *usage_spool_agent(const struct usage_spool *s);

/*
 * Appends n texts of records, in one write for many. All or none: after an error (ERR_IO with errno: ENOSPC, EIO …) the
 * segment ends where it ended before, and the call may be repeated later. A text is 1 to
 * USAGE_TEXT_MAX bytes, else ERR_RANGE and none is appended. It never waits for the disk, but when it fills many
 * segments without a usage_spool_sync().
 */
MUST_CHECK enum err usage_spool_append(struct usage_spool *s, const struct sv *texts, size_t n);

/*
 * Brings what was appended to the disk (fdatasync); does nothing when all of it is there. May take as long as the disk
 * does. An error is told as damage, once: what the disk did not take is not tried again, and a new segment begins.
 */
MUST_CHECK enum err usage_spool_sync(struct usage_spool *s);

/* Behind the last record. */
struct usage_position usage_spool_end(const struct usage_spool *s);

/* Bytes between a position and the end: what is still to be shipped. */
uint64_t usage_spool_bytes_after(const struct usage_spool *s, struct usage_position from);

/*
 * All before this position is in PostgreSQL: the segments before the position's own are removed but for the last
 * `keep`. A position behind the end is of another spool, and nothing is removed.
 */
void usage_spool_shipped(struct usage_spool *s, struct usage_position position);

/*
 * Where the newest segments begin, as many as have no more than USAGE_OLDEST_BYTES of records (about 600,000), and at
 * least the last one with records: for filling usage_dedup.
 */
#define USAGE_OLDEST_BYTES ((uint64_t)192 << 20)
struct usage_position usage_spool_oldest(const struct usage_spool *s);

/* ---- reading: any number of readers of one spool, in its process ---- */

struct usage_reader;

/*
 * {0, 0} reads from the oldest segment that is there. A position in a segment that is not there any more goes on with
 * the next one, and is told as damage when records must have been lost with it (the next one names one as before it
 * that is not there, or the position was behind a record of it). The segment in which the shipped position lies is
 * never removed, so a hole is never what was shipped. A position behind the end is told, and reads all that is there.
 * Damage within a segment is skipped up to the next record that is whole, told once a place. NULL when there is no
 * memory.
 */
struct usage_reader *usage_reader_new(struct usage_spool *s, struct usage_position from);
void usage_reader_free(struct usage_reader *r);

/*
 * The next record's text, valid until the next call, and in *after the position behind it. ERR_NOT_FOUND at the end
 * of the spool (later there may be more), ERR_IO with errno.
 */
MUST_CHECK enum err usage_reader_next(struct usage_reader *r, struct sv *text, struct usage_position *after);
/* Goes back or on to a position that it has been at. */
void usage_reader_seek(struct usage_reader *r, struct usage_position position);
