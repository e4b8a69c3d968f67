#include "api/user_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/image_id.h"
#include "base/hex.h"
#include "base/sv.h"

#define PART_PREFIX ".part-"
#define FOLDER_MODE 0750
#define FILE_MODE   0640
#define PART_TRIES  8

static const int folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

int user_folder_open(int uploads, uint64_t user)
{
	char name[24];

	snprintf(name, sizeof(name), "%" PRIu64, user);
	return openat(uploads, name, folder_flags);
}

int user_folder_make(int uploads, uint64_t user)
{
	char name[24];

	int fd = user_folder_open(uploads, user);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	snprintf(name, sizeof(name), "%" PRIu64, user);
	if (mkdirat(uploads, name, FOLDER_MODE) != 0 && errno != EEXIST)
		return -1;
	/* The folder's own name must outlive a crash too. */
	if (fsync(uploads) != 0)
		return -1;
	return user_folder_open(uploads, user);
}

DIR *user_folder_list(int folder)
{
	int fd = openat(folder, ".", folder_flags);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL && fd >= 0) {
		int saved = errno;
		close(fd);
		errno = saved;
	}
	return dir;
}

bool user_folder_is_part(const char *name)
{
	return sv_starts(sv_str(name), SV(PART_PREFIX));
}

/*
 * parts_clean() may take the lock of a file that was made a moment ago, and remove it: then this one has no name any
 * more, or cannot be locked. A file system without locks is no reason to refuse uploads.
 */
static bool part_lock(int fd)
{
	struct stat st;

	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno != EWOULDBLOCK;
	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

int part_create(int folder, char name[PART_NAME_SIZE])
{
	uint8_t random[16];
	char digits[2 * sizeof(random) + 1];

	for (int i = 0; i < PART_TRIES; i++) {
		if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return -1;
		hex_encode(random, sizeof(random), digits);
		snprintf(name, PART_NAME_SIZE, PART_PREFIX "%s", digits);
		int fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
		if (fd < 0)
			return -1;
		if (part_lock(fd))
			return fd;
		unlinkat(folder, name, 0);
		close(fd);
	}
	errno = EBUSY;
	return -1;
}

/* Whether the upload of this file has ended. */
static bool is_leftover(int folder, const char *name, int64_t older_than, int *locked)
{
	struct stat st;

	*locked = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*locked < 0 || fstat(*locked, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	if (flock(*locked, LOCK_EX | LOCK_NB) == 0)
		return true;
	return errno != EWOULDBLOCK && st.st_mtime < older_than;
}

static size_t clean_folder(int folder, int64_t older_than)
{
	size_t removed = 0;
	struct dirent *entry;
	int locked;

	DIR *dir = user_folder_list(folder);
	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL) {
		if (!user_folder_is_part(entry->d_name))
			continue;
		if (is_leftover(folder, entry->d_name, older_than, &locked) && unlinkat(folder, entry->d_name, 0) == 0)
			removed++;
		if (locked >= 0)
			close(locked);
	}
	closedir(dir);
	return removed;
}

size_t parts_clean(int uploads, int64_t older_than, bool (*stop)(void))
{
	size_t removed = 0;
	struct dirent *entry;
	uint64_t user;

	DIR *dir = user_folder_list(uploads);
	if (dir == NULL)
		return 0;
	while ((stop == NULL || !stop()) && (entry = readdir(dir)) != NULL) {
		if (sv_to_u64(sv_str(entry->d_name), &user) != ERR_OK)
			continue;
		int folder = user_folder_open(uploads, user);
		if (folder < 0)
			continue;
		removed += clean_folder(folder, older_than);
		close(folder);
	}
	closedir(dir);
	return removed;
}
