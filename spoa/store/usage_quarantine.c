#include "store/usage_quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usage/record.h"

#define TAIL_BYTES 65536

/* Whether one of the last lines begins with `place`, and whether the last one has its end. */
static enum err look_at_tail(int fd, const char *place, bool *found, bool *torn)
{
	char tail[TAIL_BYTES + 1];
	struct stat st;
	ssize_t n;

	*found = *torn = false;
	if (fstat(fd, &st) != 0)
		return ERR_IO;
	n = pread(fd, tail, TAIL_BYTES, st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0);
	if (n < 0)
		return ERR_IO;
	if (n == 0)
		return ERR_OK;
	*torn = tail[n - 1] != '\n';
	tail[n] = '\0';
	for (char *line = tail, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
		*found = *found || strncmp(line, place, strlen(place)) == 0;
	return ERR_OK;
}

static size_t make_line(char *line, bool torn, const char *place, const char *why, struct sv text)
{
	char *p = line;

	p += sprintf(p, "%s%s%.16s\t", torn ? "\n" : "", place, why);
	for (size_t i = 0; i < text.n && i < USAGE_TEXT_MAX; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if ((c >= 0x20 && c <= 0x7e) || c == '\t')
			*p++ = (char)c;
		else
			p += sprintf(p, "\\x%02x", c);
	}
	*p++ = '\n';
	return (size_t)(p - line);
}

static enum err append(int fd, struct usage_position after, const char *why, struct sv text, bool *added)
{
	char place[48], line[4 * USAGE_TEXT_MAX + 128];
	bool found, torn;
	struct stat st;

	snprintf(place, sizeof(place), "%" PRIu64 ":%" PRIu64 "\t", after.segment, after.offset);
	enum err err = look_at_tail(fd, place, &found, &torn);
	if (err != ERR_OK || found)
		return err;
	if (fstat(fd, &st) != 0)
		return ERR_IO;
	size_t n = make_line(line, torn, place, why, text);
	ssize_t written = write(fd, line, n);
	if (written != (ssize_t)n) {
		/* What did not fit must not stay as half a line; when it does, the next line begins behind it. */
		int reason = written < 0 ? errno : ENOSPC;
		if (written > 0 && ftruncate(fd, st.st_size) != 0)
			reason = errno;
		errno = reason;
		return ERR_IO;
	}
	*added = true;
	return fsync(fd) == 0 ? ERR_OK : ERR_IO;
}

enum err usage_quarantine(const char *dir, struct usage_position after, const char *why, struct sv text, bool *added)
{
	char path[PATH_MAX];
	int fd;

	*added = false;
	if ((size_t)snprintf(path, sizeof(path), "%s/quarantine.usage", dir) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return ERR_IO;
	}
	fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return ERR_IO;
	enum err err = append(fd, after, why, text, added);
	int reason = errno;
	close(fd);
	errno = reason;
	return err;
}
