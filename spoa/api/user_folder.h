/*
 * The folders of uploads.dir, one for each user, named as the user's id. No symbolic link in them or in their place is
 * ever followed.
 *
 * An upload under way is a file `.part-<32 random hex digits>`, which its process keeps locked (flock(2)) until it
 * ends; so a temporary file without a lock belongs to nobody.
 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PART_NAME_SIZE 40

/* The user's folder, close-on-exec; -1 and errno: ENOENT when it is not there, ELOOP or ENOTDIR when it is no folder.
 */
int user_folder_open(int uploads, uint64_t user);

/* The same, and makes it when it is missing. */
int user_folder_make(int uploads, uint64_t user);

/* A stream over the folder's entries from the first on, with a descriptor of its own. NULL and errno. */
DIR *user_folder_list(int folder);

bool user_folder_is_part(const char *name);

/* A new temporary file, locked and open for reading and writing, and its name. -1 and errno. */
int part_create(int folder, char name[PART_NAME_SIZE]);

/*
 * Removes the temporary files of all users whose uploads have ended without them. Where the file system knows no locks,
 * those that were last written before older_than (seconds since 1970). Ends early when stop() says so; stop may be
 * NULL. Returns how many were removed.
 */
size_t parts_clean(int uploads, int64_t older_than, bool (*stop)(void));
