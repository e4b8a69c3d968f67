#include "base/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

static enum err fail(const char *path, const char *why, char *error, size_t size)
{
	snprintf(error, size, "%s: %s", path, why);
	return ERR_INVALID;
}

static enum err fail_errno(const char *path, char *error, size_t size)
{
	snprintf(error, size, "%s: %s", path, strerror(errno));
	return ERR_IO;
}

/* *n is at most `size`. */
static enum err read_all(int fd, char *buf, size_t size, size_t *n)
{
	*n = 0;
	while (*n < size) {
		ssize_t got = read(fd, buf + *n, size - *n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return ERR_IO;
		if (got == 0)
			break;
		*n += (size_t)got;
	}
	return ERR_OK;
}

static enum err secret_from(const char *path, const char *text, size_t n, char **out, char *error, size_t size)
{
	if (n > SECRET_FILE_MAX)
		return fail(path, "is too large for a secret", error, size);
	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0 && text[n - 1] == '\r')
		n--;
	if (n == 0)
		return fail(path, "is empty", error, size);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return fail(path, "is not one line of text", error, size);
	*out = strndup(text, n);
	CHECK(*out != NULL);
	return ERR_OK;
}

enum err secret_file_read(const char *path, char **out, char *error, size_t size)
{
	char text[SECRET_FILE_MAX + 1];
	struct stat st;
	size_t n;

	*out = NULL;
	/* A FIFO without a writer must not hold the program up. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fail_errno(path, error, size);
	enum err err;
	if (fstat(fd, &st) != 0)
		err = fail_errno(path, error, size);
	else if (!S_ISREG(st.st_mode))
		err = fail(path, "is no regular file", error, size);
	else if (read_all(fd, text, sizeof(text), &n) != ERR_OK)
		err = fail_errno(path, error, size);
	else
		err = secret_from(path, text, n, out, error, size);
	close(fd);
	explicit_bzero(text, sizeof(text));
	return err;
}
