/* The opening of the spool: its folder, the lock, the agent's name, the segments that are there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "usage/spool_int.h"

#define ID_NAME     "agent.id"
#define ID_NEW_NAME "agent.id.tmp"
#define LOCK_NAME   "lock"

/* Files of the folder that are known but no segments. */
static const char *const known_names[] = { ID_NAME, ID_NEW_NAME, LOCK_NAME, "segment.tmp", "quarantine.usage" };

/* Where the opening writes what went wrong. */
struct report {
	char *text;
	size_t size;
};

__attribute__((format(printf, 3, 4))) static enum err failed(const struct report *to, enum err err, const char *format,
                                                             ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(to->text, to->size, format, args);
	va_end(args);
	return err;
}

/* ---- the lock
 * -------------------------------------------------------------------------------------------------------- */

static enum err take_lock(struct usage_spool *s, const struct report *to)
{
	char pid[24] = "";

	s->lock_fd = openat(s->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (s->lock_fd < 0)
		return failed(to, ERR_IO, "%s/%s: %s", s->dir, LOCK_NAME, strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK)
			return failed(to, ERR_IO, "%s/%s: cannot lock it: %s", s->dir, LOCK_NAME, strerror(errno));
		ssize_t got = pread(s->lock_fd, pid, sizeof(pid) - 1, 0);
		pid[got > 0 ? got : 0] = '\0';
		pid[strspn(pid, "0123456789")] = '\0';
		return failed(to, ERR_EXISTS, "%s/%s: another process (%s) has this spool open", s->dir, LOCK_NAME,
		              pid[0] != '\0' ? pid : "of unknown number");
	}
	int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	/* The number is for people alone, and a full disk is no reason not to begin. */
	if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
		spool_tell(s, 0, "%s/%s: cannot write the process's number: %s", s->dir, LOCK_NAME, strerror(errno));
	return ERR_OK;
}

/* ---- the agent's name
 * ------------------------------------------------------------------------------------------------ */

static enum err make_id(struct usage_spool *s, const struct report *to)
{
	uint8_t random[USAGE_AGENT_LEN / 2];
	char text[USAGE_AGENT_LEN + 2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return failed(to, ERR_IO, "cannot make an agent's name: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(text + 2 * i, 3, "%02x", random[i]);
	text[USAGE_AGENT_LEN] = '\n';
	int fd = openat(s->dir_fd, ID_NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return failed(to, ERR_IO, "%s/%s: %s", s->dir, ID_NEW_NAME, strerror(errno));
	errno = ENOSPC; /* for a write that is short */
	bool whole = write(fd, text, USAGE_AGENT_LEN + 1) == USAGE_AGENT_LEN + 1 && fsync(fd) == 0 &&
	             renameat(s->dir_fd, ID_NEW_NAME, s->dir_fd, ID_NAME) == 0 && fsync(s->dir_fd) == 0;
	int saved = errno;
	close(fd);
	if (!whole)
		return failed(to, ERR_IO, "%s/%s: cannot write it: %s", s->dir, ID_NAME, strerror(saved));
	memcpy(s->agent, text, USAGE_AGENT_LEN);
	return ERR_OK;
}

/* `owner` is the agent that a segment names, empty without one. */
static enum err take_id(struct usage_spool *s, const char *owner, const struct report *to)
{
	char text[USAGE_AGENT_LEN + 2];
	int fd = openat(s->dir_fd, ID_NAME, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		if (owner[0] == '\0')
			return make_id(s, to);
		return failed(
		        to, ERR_NOT_FOUND,
		        "%s/%s is missing, but there are segments of agent %s: write that name and a line end into it, "
		        "or move the segments away",
		        s->dir, ID_NAME, owner);
	}
	if (fd < 0)
		return failed(to, ERR_IO, "%s/%s: %s", s->dir, ID_NAME, strerror(errno));
	ssize_t n = read(fd, text, sizeof(text));
	int saved = errno;
	close(fd);
	if (n < 0)
		return failed(to, ERR_IO, "%s/%s: %s", s->dir, ID_NAME, strerror(saved));
	if (n != USAGE_AGENT_LEN + 1 || text[USAGE_AGENT_LEN] != '\n' ||
	    !segment_agent_valid(sv_from(text, USAGE_AGENT_LEN)))
		return failed(to, ERR_CORRUPT,
		              "%s/%s is damaged: it must hold 16 digits of lower-case hex and a line end%s%s; write "
		              "that name "
		              "into it again%s",
		              s->dir, ID_NAME, owner[0] != '\0' ? "; the segments are of agent " : "", owner,
		              owner[0] != '\0' ? "" : ", or remove it for a new one: there are no segments");
	memcpy(s->agent, text, USAGE_AGENT_LEN);
	return ERR_OK;
}

/* ---- the segments
 * ---------------------------------------------------------------------------------------------------- */

struct found {
	struct spool_segment segment;
	char agent[USAGE_AGENT_LEN + 1]; /* empty: not known */
	bool foreign;
};

struct listing {
	struct found *found;
	size_t n;
	size_t room;
};

static bool name_number(const char *name, uint64_t *number)
{
	char again[SPOOL_NAME_SIZE];

	if (strspn(name, "0123456789abcdef") != 16)
		return false;
	*number = strtoull(name, NULL, 16);
	spool_name(again, *number);
	return *number != 0 && strcmp(name, again) == 0;
}

static int by_number(const void *a, const void *b)
{
	const struct found *x = a;
	const struct found *y = b;

	return x->segment.number < y->segment.number ? -1 : x->segment.number > y->segment.number;
}

/* Reads what a segment's header says. */
static enum err inspect(struct usage_spool *s, const char *name, struct found *f, const struct report *to)
{
	uint8_t bytes[SEGMENT_HEADER];
	struct segment_header h;
	struct stat st;
	int fd = openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 && errno == ELOOP) {
		f->foreign = true;
		return ERR_OK;
	}
	if (fd < 0)
		return failed(to, ERR_IO, "%s/%s: %s", s->dir, name, strerror(errno));
	bool known = fstat(fd, &st) == 0;
	ssize_t n = known && S_ISREG(st.st_mode) ? pread(fd, bytes, sizeof(bytes), 0) : 0;
	int saved = errno;
	close(fd);
	if (!known || n < 0)
		return failed(to, ERR_IO, "%s/%s: %s", s->dir, name, strerror(saved));
	if (!S_ISREG(st.st_mode)) {
		f->foreign = true;
		return ERR_OK;
	}
	f->segment.size = (uint64_t)st.st_size;
	switch (segment_header_read(bytes, (size_t)n, &h)) {
	case ERR_OK:
		f->segment.previous = h.previous;
		memcpy(f->agent, h.agent, USAGE_AGENT_LEN);
		f->foreign = h.number != f->segment.number;
		return ERR_OK;
	case ERR_VERSION:
		return failed(to, ERR_VERSION,
		              "%s/%s is of another version of this program: ship it with that one first", s->dir, name);
	default:
		f->segment.header_damaged = true;
		return ERR_OK;
	}
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < sizeof(known_names) / sizeof(known_names[0]); i++) {
		if (strcmp(name, known_names[i]) == 0)
			return true;
	}
	return false;
}

static enum err list_entry(struct usage_spool *s, struct listing *list, const char *name, const struct report *to)
{
	uint64_t number;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || is_known(name))
		return ERR_OK;
	if (!name_number(name, &number)) {
		spool_tell(s, 0, "%s/%s: not a file of the spool; it is left alone", s->dir, name);
		return ERR_OK;
	}
	if (list->n == list->room) {
		size_t room = list->room > 0 ? list->room * 2 : 64;
		struct found *grown = realloc(list->found, room * sizeof(*grown));

		if (grown == NULL)
			return failed(to, ERR_NOMEM, "no memory for the list of segments");
		list->found = grown;
		list->room = room;
	}
	struct found *f = &list->found[list->n++];
	*f = (struct found){ .segment.number = number };
	return inspect(s, name, f, to);
}

static enum err list_segments(struct usage_spool *s, struct listing *list, const struct report *to)
{
	enum err err = ERR_OK;
	struct dirent *entry;
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL) {
		failed(to, ERR_IO, "%s: %s", s->dir, strerror(errno));
		if (fd >= 0)
			close(fd);
		return ERR_IO;
	}
	errno = 0;
	while (err == ERR_OK && (entry = readdir(dir)) != NULL) {
		err = list_entry(s, list, entry->d_name, to);
		errno = 0;
	}
	if (err == ERR_OK && errno != 0)
		err = failed(to, ERR_IO, "%s: %s", s->dir, strerror(errno));
	closedir(dir);
	if (err == ERR_OK && list->n > 0)
		qsort(list->found, list->n, sizeof(*list->found), by_number);
	return err;
}

/* Keeps the segments that are ours, and tells of the others. */
static enum err keep_segments(struct usage_spool *s, const struct listing *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct found *f = &list->found[i];
		char name[SPOOL_NAME_SIZE];

		spool_name(name, f->segment.number);
		if (f->foreign) {
			spool_tell(s, 0, "%s/%s: not the segment that its name says; it is left alone", s->dir, name);
			continue;
		}
		if (f->agent[0] != '\0' && strcmp(f->agent, s->agent) != 0) {
			spool_tell(s, 0, "%s/%s: a segment of agent %s, and this is agent %s; it is left alone", s->dir,
			           name, f->agent, s->agent);
			continue;
		}
		enum err err = spool_add(s, &f->segment);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* ---- the opening
 * ----------------------------------------------------------------------------------------------------- */

/*
 * Begins this opening's segment. Segments without a record at the end of the spool are left out of the chain, and
 * removed once the new one is there: openings without a record would pile them up.
 */
static enum err begin(struct usage_spool *s, const struct report *to)
{
	uint64_t now = clock_ns(CLOCK_REALTIME) / NS_PER_MS;
	size_t full = s->n;

	while (full > 0 && s->segments[full - 1].size == SEGMENT_HEADER && !s->segments[full - 1].header_damaged)
		full--;
	size_t before = s->n;
	enum err err = spool_begin(s, now > s->newest ? now : s->newest + 1,
	                           full > 0 ? s->segments[full - 1].number : 0);
	if (err == ERR_IO && (errno == ENOSPC || errno == EDQUOT)) {
		/* What is there can be shipped, which makes room; the first append begins a segment. */
		spool_tell(s, 0, "%s: cannot begin a segment: %s", s->dir, strerror(errno));
		return ERR_OK;
	}
	if (err != ERR_OK)
		return failed(to, err, "%s: cannot begin a segment: %s", s->dir,
		              err == ERR_IO ? strerror(errno) : err_str(err));
	if (fsync(s->fd) != 0 || fsync(s->dir_fd) != 0)
		return failed(to, ERR_IO, "%s: cannot sync a new segment: %s", s->dir, strerror(errno));
	s->unsynced = false;
	s->dir_unsynced = false;
	for (size_t i = full; i < before; i++) {
		char name[SPOOL_NAME_SIZE];

		spool_name(name, s->segments[i].number);
		if (unlinkat(s->dir_fd, name, 0) != 0 && errno != ENOENT)
			spool_tell(s, 0, "%s/%s: cannot remove an empty segment: %s", s->dir, name, strerror(errno));
	}
	s->segments[full] = s->segments[before];
	s->n = full + 1;
	return ERR_OK;
}

static enum err open_dir(struct usage_spool *s, const struct report *to)
{
	struct listing list = { 0 };
	const char *owner = "";

	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return failed(to, ERR_IO, "%s: %s", s->dir, strerror(errno));
	enum err err = take_lock(s, to);
	if (err == ERR_OK)
		err = list_segments(s, &list, to);
	for (size_t i = 0; i < list.n; i++) {
		s->newest = list.found[i].segment.number;
		if (list.found[i].agent[0] != '\0')
			owner = list.found[i].agent;
	}
	if (err == ERR_OK && s->newest == UINT64_MAX)
		err = failed(to, ERR_RANGE, "%s/%016" PRIx64 ".usage: no segment can follow this one", s->dir,
		             s->newest);
	if (err == ERR_OK)
		err = take_id(s, owner, to);
	if (err == ERR_OK && keep_segments(s, &list) != ERR_OK)
		err = failed(to, ERR_NOMEM, "no memory for the list of segments");
	free(list.found);
	return err == ERR_OK ? begin(s, to) : err;
}

enum err usage_spool_open(const struct usage_spool_config *config, struct usage_spool **out, char *error,
                          size_t error_size)
{
	struct report to = { .text = error, .size = error_size };
	struct usage_spool *s = calloc(1, sizeof(*s));

	*out = NULL;
	if (s == NULL)
		return failed(&to, ERR_NOMEM, "no memory for the spool");
	s->segment_bytes = config->segment_bytes;
	s->keep = config->keep;
	s->damaged = config->damaged;
	s->arg = config->arg;
	s->dir_fd = -1;
	s->lock_fd = -1;
	s->fd = -1;
	s->buffer = malloc(SPOOL_BUFFER);
	enum err err = ERR_OK;
	if (s->buffer == NULL)
		err = failed(&to, ERR_NOMEM, "no memory for the spool");
	else if (sv_copy(sv_str(config->dir), s->dir, sizeof(s->dir)) != ERR_OK)
		err = failed(&to, ERR_RANGE, "the path of the spool's folder is longer than %zu bytes",
		             sizeof(s->dir) - 1);
	else
		err = open_dir(s, &to);
	if (err != ERR_OK) {
		usage_spool_close(s);
		return err;
	}
	*out = s;
	return ERR_OK;
}
