/* A folder for a spool, what the spool tells of damage, and hands to damage it with. */
#pragma once

#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usage/segment.h"
#include "usage/spool.h"

static char folder[64];
static char told[65536]; /* the lines */
static unsigned told_n;
static uint64_t told_records;

static void on_damage(void *arg, const char *what, uint64_t records)
{
	size_t n = strlen(told);

	assert_ptr_equal(arg, folder);
	snprintf(told + n, sizeof(told) - n, "%s\n", what);
	told_n++;
	told_records += records;
}

static void told_forget(void)
{
	told[0] = '\0';
	told_n = 0;
	told_records = 0;
}

static const char *path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static const char *segment_path(uint64_t number)
{
	char name[32];

	snprintf(name, sizeof(name), "%016" PRIx64 ".usage", number);
	return path_of(name);
}

static int folder_make(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/usage-XXXXXX");
	told_forget();
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int folder_remove(void **state)
{
	struct dirent *entry;
	DIR *dir = opendir(folder);

	(void)state;
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.' && unlink(path_of(entry->d_name)) != 0)
			rmdir(path_of(entry->d_name));
	}
	if (dir != NULL)
		closedir(dir);
	return rmdir(folder);
}

static inline unsigned segments_there(void)
{
	struct dirent *entry;
	DIR *dir = opendir(folder);
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		n += strlen(entry->d_name) == 22;
	closedir(dir);
	return n;
}

static inline struct usage_spool *spool_open_with(size_t segment_bytes, unsigned keep)
{
	struct usage_spool_config config = {
		.dir = folder, .segment_bytes = segment_bytes, .keep = keep, .damaged = on_damage, .arg = folder
	};
	struct usage_spool *s;
	char error[5000] = "";

	if (usage_spool_open(&config, &s, error, sizeof(error)) != ERR_OK)
		fail_msg("%s", error);
	return s;
}

/* Opens it, which must fail with this error, and with this text in the message. */
static inline void open_fails(enum err expected, const char *part)
{
	struct usage_spool_config config = {
		.dir = folder, .segment_bytes = 1000, .damaged = on_damage, .arg = folder
	};
	struct usage_spool *s;
	char error[5000] = "";

	assert_int_equal(usage_spool_open(&config, &s, error, sizeof(error)), expected);
	assert_null(s);
	if (strstr(error, part) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", part, error);
}

static inline void told_has(const char *part)
{
	if (strstr(told, part) == NULL)
		fail_msg("\"%s\" was not told, but \"%s\"", part, told);
}

static inline void append(struct usage_spool *s, const char *text)
{
	struct sv v = sv_str(text);

	assert_int_equal(usage_spool_append(s, &v, 1), ERR_OK);
}

static inline void put_file(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

/* XORs one byte. */
static inline void flip(const char *path, uint64_t offset, uint8_t bits)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

/* The next record must be this text. */
static inline void expect(struct usage_reader *r, const char *text)
{
	struct usage_position after;
	struct sv got = { 0 };

	assert_int_equal(usage_reader_next(r, &got, &after), ERR_OK);
	if (!sv_eq(got, sv_str(text)))
		fail_msg("\"%.*s\" instead of \"%s\"", SV_ARG(got), text);
}

static inline void expect_end(struct usage_reader *r)
{
	struct usage_position after;
	struct sv got;

	assert_int_equal(usage_reader_next(r, &got, &after), ERR_NOT_FOUND);
}
