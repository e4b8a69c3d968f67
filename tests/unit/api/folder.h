/* A temporary uploads folder for tests, and what is in it. */
#pragma once

#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GIF_FILE   TEST_DATA "/images/indexed.gif"
#define GIF_WIDTH  37
#define GIF_HEIGHT 23

struct folder {
	char path[64];
};

static inline void folder_make(struct folder *f)
{
	snprintf(f->path, sizeof(f->path), "/tmp/gateway-api-test-XXXXXX");
	assert_non_null(mkdtemp(f->path));
}

/* Files of the user's folder whose names start with prefix ("" is all); the last one's name goes to *name. */
static inline size_t folder_count(const struct folder *f, const char *user, const char *prefix, char name[256])
{
	char path[128];
	struct dirent *entry;
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/%s", f->path, user);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (name != NULL)
			snprintf(name, 256, "%s", entry->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Removes the folder and all that is in it; links are removed, not followed. */
static inline void folder_remove(const struct folder *f)
{
	assert_int_equal(nftw(f->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Reads a whole file of at most size bytes; returns its length. */
static inline size_t file_read(const char *path, void *buf, size_t size)
{
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	size_t n = fread(buf, 1, size, f);
	fclose(f);
	return n;
}
