/* The spool from inside: what its folder, its writer and its readers share. */
#pragma once

#include <sys/types.h>

#include "usage/segment.h"
#include "usage/spool.h"

/* A segment's file name with NUL: "0123456789abcdef.usage". */
#define SPOOL_NAME_SIZE 23
#define SPOOL_PATH_SIZE (4096 + SPOOL_NAME_SIZE + 16)

/* Segments that are full but not synced yet; with more, an append waits for the disk. */
#define SPOOL_UNSYNCED_MAX 8

/* Places of damage that are remembered, so that each is told once, whichever reader finds it. */
#define SPOOL_TOLD 256

/* Bytes of records that go to the file in one write. */
#define SPOOL_BUFFER ((size_t)256 << 10)

struct spool_segment {
	uint64_t number;
	uint64_t previous;
	uint64_t size;       /* of the file, as far as it may be read; it may be shorter than a header */
	uint64_t before;     /* bytes of records in all segments before it since the opening, those removed too */
	bool header_damaged; /* `previous` is not known */
};

struct usage_spool {
	char dir[4096];
	size_t segment_bytes;
	unsigned keep;
	void (*damaged)(void *arg, const char *what, uint64_t records);
	void *arg;
	char agent[USAGE_AGENT_LEN + 1];
	int dir_fd;
	int lock_fd;

	struct spool_segment *segments; /* by number; the last is written to, when fd is not -1 */
	size_t n;
	size_t room;

	uint64_t newest;   /* the highest number that any segment has had */
	int fd;            /* the last segment; -1: a new one begins at the next append */
	bool unsynced;     /* the last segment has what may not be on the disk */
	bool dir_unsynced; /* so has the folder */
	struct {
		int fd;
		uint64_t number;
	} full[SPOOL_UNSYNCED_MAX]; /* closed segments that are to be synced */
	size_t full_n;

	uint8_t *buffer; /* records on their way to the file */

	struct usage_position told[SPOOL_TOLD]; /* a ring */
	size_t told_next;
};

void spool_name(char name[SPOOL_NAME_SIZE], uint64_t number);

/* Tells of damage: a line for the log, printf style. */
__attribute__((format(printf, 3, 4))) void spool_tell(struct usage_spool *s, uint64_t records, const char *format, ...);

/* Whether damage at the place has not been told yet; from now on it has. */
bool spool_tell_once(struct usage_spool *s, struct usage_position place);

/* The index of the first segment whose number is at least this one; n without one. */
size_t spool_find(const struct usage_spool *s, uint64_t number);

/* Adds a segment behind all others. */
MUST_CHECK enum err spool_add(struct usage_spool *s, const struct spool_segment *segment);

/* Begins a new segment, which names `previous`; its fd is s->fd. ERR_IO with errno, and nothing has changed. */
MUST_CHECK enum err spool_begin(struct usage_spool *s, uint64_t number, uint64_t previous);
