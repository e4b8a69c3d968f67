#include "usage/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "usage/spool_int.h"

/* A new segment gets its name when it has its header, so that a segment without one is always damage. */
#define NEW_NAME "segment.tmp"

void spool_name(char name[SPOOL_NAME_SIZE], uint64_t number)
{
	snprintf(name, SPOOL_NAME_SIZE, "%016" PRIx64 ".usage", number);
}

void spool_tell(struct usage_spool *s, uint64_t records, const char *format, ...)
{
	char line[SPOOL_PATH_SIZE + 512];
	va_list args;

	if (s->damaged == NULL)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	s->damaged(s->arg, line, records);
}

bool spool_tell_once(struct usage_spool *s, struct usage_position place)
{
	for (size_t i = 0; i < SPOOL_TOLD; i++) {
		if (usage_position_cmp(s->told[i], place) == 0)
			return false;
	}
	s->told[s->told_next] = place;
	s->told_next = (s->told_next + 1) % SPOOL_TOLD;
	return true;
}

size_t spool_find(const struct usage_spool *s, uint64_t number)
{
	size_t low = 0;
	size_t high = s->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->segments[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t record_bytes(uint64_t size)
{
	return size > SEGMENT_HEADER ? size - SEGMENT_HEADER : 0;
}

enum err spool_add(struct usage_spool *s, const struct spool_segment *segment)
{
	if (s->n == s->room) {
		size_t room = s->room > 0 ? s->room * 2 : 64;
		struct spool_segment *grown = realloc(s->segments, room * sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		s->segments = grown;
		s->room = room;
	}
	struct spool_segment *added = &s->segments[s->n];
	*added = *segment;
	added->before = s->n > 0 ? added[-1].before + record_bytes(added[-1].size) : 0;
	s->n++;
	return ERR_OK;
}

/* All n bytes at an offset of a file. ERR_IO with errno. */
static enum err write_all(int fd, const uint8_t *p, size_t n, uint64_t offset)
{
	while (n > 0) {
		ssize_t written = pwrite(fd, p, n, (off_t)offset);

		if (written < 0) {
			if (errno == EINTR)
				continue;
			return ERR_IO;
		}
		if (written == 0) {
			errno = ENOSPC;
			return ERR_IO;
		}
		p += written;
		n -= (size_t)written;
		offset += (uint64_t)written;
	}
	return ERR_OK;
}

enum err spool_begin(struct usage_spool *s, uint64_t number, uint64_t previous)
{
	struct segment_header h = { .number = number, .previous = previous };
	uint8_t header[SEGMENT_HEADER];
	char name[SPOOL_NAME_SIZE];

	memcpy(h.agent, s->agent, sizeof(h.agent));
	segment_header_write(header, &h);
	spool_name(name, number);
	int fd = openat(s->dir_fd, NEW_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return ERR_IO;
	enum err err = write_all(fd, header, sizeof(header), 0);
	if (err == ERR_OK) {
		err = spool_add(
		        s, &(struct spool_segment){ .number = number, .previous = previous, .size = SEGMENT_HEADER });
		if (err == ERR_OK && renameat(s->dir_fd, NEW_NAME, s->dir_fd, name) != 0) {
			s->n--;
			err = ERR_IO;
		}
	}
	if (err != ERR_OK) {
		int saved = errno;

		close(fd);
		unlinkat(s->dir_fd, NEW_NAME, 0);
		errno = saved;
		return err;
	}
	s->fd = fd;
	s->newest = number;
	s->unsynced = true;
	s->dir_unsynced = true;
	return ERR_OK;
}

static struct spool_segment *last(const struct usage_spool *s)
{
	return &s->segments[s->n - 1];
}

const char *usage_spool_agent(const struct usage_spool *s)
{
	return s->agent;
}

/* ---- writing
 * --------------------------------------------------------------------------------------------------------- */

/* Syncs a segment that is not written to any more, and closes it. */
static enum err finish(struct usage_spool *s, int fd, uint64_t number)
{
	enum err err = ERR_OK;
	int saved = 0;

	if (fdatasync(fd) != 0) {
		char name[SPOOL_NAME_SIZE];

		saved = errno;
		err = ERR_IO;
		spool_name(name, number);
		spool_tell(s, 0, "%s/%s: the disk did not take all of it: %s; records are lost if this machine fails",
		           s->dir, name, strerror(saved));
	}
	close(fd);
	errno = saved;
	return err;
}

/* Puts away a segment that is not written to any more: it is synced with the next usage_spool_sync(). */
static void put_away(struct usage_spool *s, int fd, uint64_t number, bool unsynced)
{
	if (!unsynced) {
		close(fd);
	} else if (s->full_n < SPOOL_UNSYNCED_MAX) {
		s->full[s->full_n].fd = fd;
		s->full[s->full_n].number = number;
		s->full_n++;
	} else if (finish(s, fd, number) != ERR_OK) {
		/* It has told so, and the records of the next segment are none the worse for it. */
		return;
	}
}

/* A segment to write to. */
static enum err ready(struct usage_spool *s)
{
	uint64_t now = clock_ns(CLOCK_REALTIME) / NS_PER_MS;
	uint64_t previous = s->n > 0 ? last(s)->number : 0;
	int old = s->fd;
	bool unsynced = s->unsynced;

	if (old >= 0 && (last(s)->size < s->segment_bytes || last(s)->size == SEGMENT_HEADER))
		return ERR_OK;
	if (s->newest == UINT64_MAX)
		return ERR_RANGE;
	enum err err = spool_begin(s, now > s->newest ? now : s->newest + 1, previous);
	if (err == ERR_OK && old >= 0)
		put_away(s, old, previous, unsynced);
	return err;
}

/* Takes what a failed append has written back off the file. */
static void take_back(struct usage_spool *s)
{
	int saved = errno;

	if (ftruncate(s->fd, (off_t)last(s)->size) != 0) {
		char name[SPOOL_NAME_SIZE];

		spool_name(name, last(s)->number);
		spool_tell(s, 0,
		           "%s/%s: offset %" PRIu64 ": cannot take back what could not be written (%s): %s; "
		           "a new segment begins",
		           s->dir, name, last(s)->size, strerror(saved), strerror(errno));
		put_away(s, s->fd, last(s)->number, s->unsynced);
		s->fd = -1;
		s->unsynced = false;
	}
	errno = saved;
}

enum err usage_spool_append(struct usage_spool *s, const struct sv *texts, size_t n)
{
	size_t filled = 0;

	if (n == 0)
		return ERR_OK;
	for (size_t i = 0; i < n; i++) {
		if (texts[i].n == 0 || texts[i].n > USAGE_TEXT_MAX)
			return ERR_RANGE;
	}
	enum err err = ready(s);
	if (err != ERR_OK)
		return err;
	uint64_t end = last(s)->size;
	for (size_t i = 0; i < n && err == ERR_OK; i++) {
		if (SPOOL_BUFFER - filled < SEGMENT_RECORD_HEAD + texts[i].n) {
			err = write_all(s->fd, s->buffer, filled, end);
			end += filled;
			filled = 0;
		}
		filled += segment_record_write(s->buffer + filled, texts[i]);
	}
	if (err == ERR_OK)
		err = write_all(s->fd, s->buffer, filled, end);
	if (err != ERR_OK) {
		take_back(s);
		return err;
	}
	last(s)->size = end + filled;
	s->unsynced = true;
	return ERR_OK;
}

enum err usage_spool_sync(struct usage_spool *s)
{
	enum err err = ERR_OK;
	int saved = 0;

	for (size_t i = 0; i < s->full_n; i++) {
		if (finish(s, s->full[i].fd, s->full[i].number) != ERR_OK) {
			saved = errno;
			err = ERR_IO;
		}
	}
	s->full_n = 0;
	if (s->unsynced && fdatasync(s->fd) != 0) {
		char name[SPOOL_NAME_SIZE];

		/*
		 * What the kernel could not write it may have dropped, and a second fdatasync() would say that all is
		 * well. So this one is told, and the next records go to a new segment.
		 */
		saved = errno;
		err = ERR_IO;
		spool_name(name, last(s)->number);
		spool_tell(s, 0, "%s/%s: the disk did not take all of it: %s; records are lost if this machine fails",
		           s->dir, name, strerror(saved));
		close(s->fd);
		s->fd = -1;
	}
	s->unsynced = false;
	if (s->dir_unsynced && fsync(s->dir_fd) != 0) {
		saved = errno;
		err = ERR_IO;
		spool_tell(s, 0, "%s: cannot sync the folder: %s", s->dir, strerror(saved));
	} else {
		s->dir_unsynced = false;
	}
	errno = saved;
	return err;
}

void usage_spool_close(struct usage_spool *s)
{
	if (s == NULL)
		return;
	/* An opening that failed has nothing to sync; what fails has been told. */
	if (s->n > 0 && usage_spool_sync(s) != ERR_OK)
		s->dir_unsynced = false;
	if (s->fd >= 0)
		close(s->fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->segments);
	free(s->buffer);
	free(s);
}

/* ---- positions
 * ------------------------------------------------------------------------------------------------------- */

struct usage_position usage_spool_end(const struct usage_spool *s)
{
	if (s->n == 0)
		return (struct usage_position){ 0 };
	return (struct usage_position){ .segment = last(s)->number, .offset = last(s)->size };
}

uint64_t usage_spool_bytes_after(const struct usage_spool *s, struct usage_position from)
{
	size_t i = spool_find(s, from.segment);

	if (i == s->n)
		return 0;
	uint64_t all = last(s)->before + record_bytes(last(s)->size);
	const struct spool_segment *segment = &s->segments[i];
	uint64_t read = 0;
	if (segment->number == from.segment)
		read = record_bytes(from.offset < segment->size ? from.offset : segment->size);
	return all - segment->before - read;
}

void usage_spool_shipped(struct usage_spool *s, struct usage_position position)
{
	size_t shipped = spool_find(s, position.segment);
	size_t removed = 0;

	/* A position behind the end is of another spool. */
	if (usage_position_cmp(position, usage_spool_end(s)) > 0)
		return;
	while (shipped - removed > s->keep) {
		char name[SPOOL_NAME_SIZE];
		uint64_t number = s->segments[removed].number;

		spool_name(name, number);
		if (unlinkat(s->dir_fd, name, 0) != 0 && errno != ENOENT) {
			if (spool_tell_once(s, (struct usage_position){ .segment = number, .offset = UINT64_MAX }))
				spool_tell(s, 0, "%s/%s: cannot remove a segment that is shipped: %s", s->dir, name,
				           strerror(errno));
			break;
		}
		removed++;
	}
	if (removed == 0)
		return;
	s->n -= removed;
	memmove(s->segments, s->segments + removed, s->n * sizeof(*s->segments));
}

struct usage_position usage_spool_oldest(const struct usage_spool *s)
{
	uint64_t bytes = 0;
	size_t i = s->n;

	while (i > 0) {
		uint64_t more = record_bytes(s->segments[i - 1].size);

		if (bytes > 0 && bytes + more > USAGE_OLDEST_BYTES)
			break;
		bytes += more;
		i--;
	}
	if (i == s->n)
		return usage_spool_end(s);
	return (struct usage_position){ .segment = s->segments[i].number, .offset = SEGMENT_HEADER };
}
