#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "usage/spool_int.h"

#define WINDOW ((size_t)256 << 10)

struct usage_reader {
	struct usage_spool *s;
	struct usage_position at;
	int fd;         /* the segment `at.segment`; -1: not open */
	bool arrived;   /* it is known that at.segment is there, or was when it was begun with */
	uint64_t limit; /* how far it may be read */
	/* Bytes of the file from `start` on. */
	uint8_t *window;
	uint64_t start;
	size_t n;
};

struct usage_reader *usage_reader_new(struct usage_spool *s, struct usage_position from)
{
	struct usage_reader *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->window = malloc(WINDOW);
	if (r->window == NULL) {
		free(r);
		return NULL;
	}
	r->s = s;
	r->fd = -1;
	r->at = from;
	return r;
}

static void forget(struct usage_reader *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	r->n = 0;
	r->start = 0;
	r->limit = 0;
	r->arrived = false;
}

void usage_reader_free(struct usage_reader *r)
{
	if (r == NULL)
		return;
	forget(r);
	free(r->window);
	free(r);
}

void usage_reader_seek(struct usage_reader *r, struct usage_position position)
{
	if (position.segment != r->at.segment)
		forget(r);
	r->at = position;
}

/* ---- from segment to segment
 * ----------------------------------------------------------------------------------------- */

/*
 * Tells what must have been lost before `next`, when the reader comes from r->at; `there`: its segment is, or was left
 * at its end. A segment that is gone had records when the position is behind one. Else it may have been removed because
 * it was empty, unless the next one names it, or one behind it.
 */
static void tell_hole(struct usage_reader *r, const struct spool_segment *next, bool there)
{
	uint64_t lost = next->previous;
	char name[SPOOL_NAME_SIZE];
	char next_name[SPOOL_NAME_SIZE];

	/* {0, 0} is wherever the spool begins. */
	if (r->at.segment == 0)
		return;
	if (next->header_damaged || lost < r->at.segment) {
		if (there || r->at.offset <= SEGMENT_HEADER)
			return;
		lost = r->at.segment;
	} else if (lost == r->at.segment && there) {
		return;
	}
	if (!spool_tell_once(r->s, (struct usage_position){ .segment = next->number, .offset = 1 }))
		return;
	spool_name(name, lost);
	spool_name(next_name, next->number);
	spool_tell(r->s, 1, "%s/%s is missing, before %s: what it had is lost", r->s->dir, name, next_name);
}

/* Goes to the first segment from r->at.segment on, or to the one behind it. ERR_NOT_FOUND: there is none. */
static enum err enter(struct usage_reader *r, bool leave)
{
	struct usage_spool *s = r->s;
	size_t i = spool_find(s, r->at.segment);
	bool there = i < s->n && s->segments[i].number == r->at.segment;

	if (leave && there)
		i++;
	if (i == s->n && !leave && s->n > 0) {
		/* Of a spool that was here before, when the clock went back as well: all that is here may be new. */
		spool_tell(s, 0, "%s: segment %016" PRIx64 " is behind the newest: all segments are read", s->dir,
		           r->at.segment);
		forget(r);
		r->at = (struct usage_position){ 0 };
		return enter(r, false);
	}
	if (i == s->n)
		return ERR_NOT_FOUND;
	const struct spool_segment *next = &s->segments[i];
	if (next->number != r->at.segment) {
		tell_hole(r, next, leave ? r->arrived : false);
		forget(r);
		r->at = (struct usage_position){ .segment = next->number, .offset = SEGMENT_HEADER };
	}
	if (r->at.offset < SEGMENT_HEADER)
		r->at.offset = SEGMENT_HEADER;
	r->arrived = true;
	if (next->header_damaged &&
	    spool_tell_once(s, (struct usage_position){ .segment = next->number, .offset = 0 })) {
		char name[SPOOL_NAME_SIZE];

		spool_name(name, next->number);
		spool_tell(s, 0, "%s/%s: offset 0: the header is damaged", s->dir, name);
	}
	return ERR_OK;
}

/* ---- within a segment
 * ------------------------------------------------------------------------------------------------ */

static enum err open_segment(struct usage_reader *r)
{
	char name[SPOOL_NAME_SIZE];

	if (r->fd >= 0)
		return ERR_OK;
	spool_name(name, r->at.segment);
	r->fd = openat(r->s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (r->fd >= 0)
		return ERR_OK;
	if (errno != ENOENT)
		return ERR_IO;
	if (spool_tell_once(r->s, r->at))
		spool_tell(r->s, 1, "%s/%s is missing: %" PRIu64 " bytes of records are lost", r->s->dir, name,
		           r->limit - r->at.offset);
	r->at.offset = r->limit;
	return ERR_NOT_FOUND;
}

/* How far the segment may be read: one that was removed meanwhile, as far as was known. */
static void look(struct usage_reader *r)
{
	size_t i = spool_find(r->s, r->at.segment);

	if (i < r->s->n && r->s->segments[i].number == r->at.segment)
		r->limit = r->s->segments[i].size;
}

/* Fills the window from r->at on. A file that has become shorter than it was ends where it ends. */
static enum err fill(struct usage_reader *r)
{
	uint64_t want = r->limit - r->at.offset;
	size_t n = want < WINDOW ? (size_t)want : WINDOW;

	r->start = r->at.offset;
	r->n = 0;
	while (r->n < n) {
		ssize_t got = pread(r->fd, r->window + r->n, n - r->n, (off_t)(r->start + r->n));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			r->n = 0;
			return ERR_IO;
		}
		if (got == 0)
			break;
		r->n += (size_t)got;
	}
	return ERR_OK;
}

/* The bytes at r->at that are in the window. */
static size_t held(const struct usage_reader *r, const uint8_t **p)
{
	if (r->at.offset < r->start || r->at.offset - r->start >= r->n)
		return 0;
	*p = r->window + (r->at.offset - r->start);
	return r->n - (size_t)(r->at.offset - r->start);
}

/* Goes over what is no record, to the next one that is whole or to the end of what can be read. */
static enum err skip_damage(struct usage_reader *r)
{
	struct usage_position place = r->at;
	char name[SPOOL_NAME_SIZE];
	size_t from = 1;
	enum err err;

	for (;;) {
		const uint8_t *p = NULL;

		err = fill(r);
		if (err != ERR_OK) {
			r->at = place;
			return err;
		}
		size_t n = held(r, &p);
		bool is_last = r->start + r->n >= r->limit || r->n < WINDOW;
		size_t next = segment_scan(p, n, from, is_last);
		r->at.offset += next;
		if (is_last) {
			if (next == n)
				r->at.offset = r->limit;
			break;
		}
		/* A record that may begin here is looked at again with all the bytes that it may have. */
		struct sv text;
		size_t size;
		if (next < n && segment_record_read(p + next, n - next, &text, &size) == ERR_OK)
			break;
		from = 0;
	}
	uint64_t end = r->at.offset;
	if (!spool_tell_once(r->s, place))
		return ERR_OK;
	spool_name(name, place.segment);
	spool_tell(r->s, 1, "%s/%s: offset %" PRIu64 ": %" PRIu64 " bytes are damaged and were skipped%s", r->s->dir,
	           name, place.offset, end - place.offset, end == r->limit ? ", to the end of the segment" : "");
	return ERR_OK;
}

enum err usage_reader_next(struct usage_reader *r, struct sv *text, struct usage_position *after)
{
	bool leave = false;

	for (;;) {
		const uint8_t *p = NULL;
		size_t size;
		enum err err = ERR_INCOMPLETE;
		size_t n = r->arrived ? held(r, &p) : 0;

		if (n > 0)
			err = segment_record_read(p, n, text, &size);
		if (err == ERR_OK) {
			r->at.offset += size;
			*after = r->at;
			return ERR_OK;
		}
		if (!r->arrived || leave) {
			err = enter(r, leave);
			if (err != ERR_OK)
				return err;
			leave = false;
		}
		look(r);
		if (r->at.offset >= r->limit) {
			leave = true;
			continue;
		}
		err = open_segment(r);
		if (err == ERR_NOT_FOUND)
			continue;
		if (err == ERR_OK)
			err = fill(r);
		if (err != ERR_OK)
			return err;
		n = held(r, &p);
		err = n > 0 ? segment_record_read(p, n, text, &size) : ERR_CORRUPT;
		if (err == ERR_OK)
			continue;
		err = skip_damage(r);
		if (err != ERR_OK)
			return err;
	}
}
