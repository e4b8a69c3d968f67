#include "api/images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/image_file.h"
#include "base/check.h"

/*
 * How much of the files one page looks at: a page of photographs with much before their frame is whole, one of files
 * that were made to have it 4 MB deep ends early, in place of keeping a thread for seconds.
 */
#define LOOK_MAX ((uint64_t)IMAGES_LIST_MAX * 72 * 1024)

typedef char file_name[IMAGE_NAME_SIZE];

/* The file's entry; only its header is read, see image_file.h. ERR_NOT_FOUND when it is no regular file, or gone. */
static enum err read_entry(int folder, const char *name, struct image_entry *out, uint64_t *looked_at)
{
	struct image_info image = { 0 };
	const char *why;
	struct stat st;

	if (!image_name_ok(sv_str(name), &out->type))
		return ERR_NOT_FOUND;
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP || errno == ENXIO ? ERR_NOT_FOUND : ERR_IO;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return ERR_NOT_FOUND;
	}
	image.type = out->type;
	if (image_file_probe(fd, (uint64_t)st.st_size, NULL, IMAGE_FILE_KNOWN, &image, &why, looked_at) != ERR_OK)
		image.width = image.height = 0;
	close(fd);
	memcpy(out->id, name, IMAGE_ID_CHARS);
	out->id[IMAGE_ID_CHARS] = '\0';
	out->bytes = (uint64_t)st.st_size;
	out->created_s = st.st_mtime;
	out->width = image.width;
	out->height = image.height;
	return ERR_OK;
}

/* The folder, for an id that may be one; -1 and *err: ERR_NOT_FOUND when there is no folder. */
static int open_for(const struct uploads *store, uint64_t user, struct sv id, enum err *err)
{
	*err = ERR_NOT_FOUND;
	if (!image_id_ok(id))
		return -1;
	int folder = user_folder_open(store->dir_fd, user);
	if (folder < 0 && errno != ENOENT)
		*err = ERR_IO;
	return folder;
}

enum err images_find(const struct uploads *store, uint64_t user, struct sv id, struct image_entry *out)
{
	file_name name;
	uint64_t looked_at = 0;
	enum err err;

	int folder = open_for(store, user, id, &err);
	if (folder < 0)
		return err;
	for (unsigned i = 0; i < IMAGE_TYPE_COUNT && err == ERR_NOT_FOUND; i++) {
		image_name(id.p, (enum image_type)i, name);
		err = read_entry(folder, name, out, &looked_at);
	}
	close(folder);
	return err;
}

/* Under the account's lock. */
static enum err delete_any(int folder, struct sv id, uint64_t *room)
{
	file_name name;
	struct stat st;

	for (unsigned i = 0; i < IMAGE_TYPE_COUNT; i++) {
		image_name(id.p, (enum image_type)i, name);
		if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
			if (errno != ENOENT)
				return ERR_IO;
			continue;
		}
		if (!S_ISREG(st.st_mode))
			continue;
		if (unlinkat(folder, name, 0) != 0)
			return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
		*room = storage_size((uint64_t)st.st_size);
		return ERR_OK;
	}
	return ERR_NOT_FOUND;
}

enum err images_delete(const struct uploads *store, uint64_t user, struct sv id)
{
	uint64_t room = 0;
	enum err err;

	int folder = open_for(store, user, id, &err);
	if (folder < 0)
		return err;
	struct storage_account *account = storage_open(store->storage, user);
	if (account == NULL) {
		close(folder);
		return ERR_NOMEM;
	}
	storage_lock(account);
	err = delete_any(folder, id, &room);
	storage_unlock(account, 0, room, 0);
	storage_close(store->storage, account);
	if (err == ERR_OK && fsync(folder) != 0)
		err = ERR_IO;
	int saved = errno;
	close(folder);
	errno = saved;
	return err;
}

/* The smallest names so far, as a heap with the largest of them on top. */
struct smallest {
	file_name *names;
	size_t count;
	size_t most;
};

static void swap(file_name a, file_name b)
{
	file_name t;

	memcpy(t, a, sizeof(file_name));
	memcpy(a, b, sizeof(file_name));
	memcpy(b, t, sizeof(file_name));
}

static void sink(struct smallest *s, size_t at)
{
	for (;;) {
		size_t top = at;
		for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < s->count; child++) {
			if (strcmp(s->names[child], s->names[top]) > 0)
				top = child;
		}
		if (top == at)
			return;
		swap(s->names[at], s->names[top]);
		at = top;
	}
}

static void smallest_add(struct smallest *s, struct sv name)
{
	size_t at = s->count;

	if (s->count == s->most) {
		if (memcmp(name.p, s->names[0], name.n + 1) >= 0)
			return;
		memcpy(s->names[0], name.p, name.n + 1);
		sink(s, 0);
		return;
	}
	memcpy(s->names[s->count++], name.p, name.n + 1);
	for (; at > 0 && strcmp(s->names[at], s->names[(at - 1) / 2]) > 0; at = (at - 1) / 2)
		swap(s->names[at], s->names[(at - 1) / 2]);
}

static enum err collect(int folder, struct sv after, struct smallest *s)
{
	struct dirent *entry;
	enum image_type type;

	DIR *dir = user_folder_list(folder);
	if (dir == NULL)
		return ERR_IO;
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		struct sv name = sv_str(entry->d_name);
		if (!image_name_ok(name, &type) || (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN))
			continue;
		if (after.n == 0 || memcmp(name.p, after.p, IMAGE_ID_CHARS) > 0)
			smallest_add(s, name);
	}
	int saved = errno;
	closedir(dir);
	errno = saved;
	return saved == 0 ? ERR_OK : ERR_IO;
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* *seen: how many of the names were looked at. */
static enum err fill(int folder, const struct smallest *s, size_t limit, struct image_entry *out, size_t *count,
                     size_t *seen)
{
	uint64_t looked_at = 0;

	for (*seen = 0; *seen < s->count && *seen < limit && looked_at < LOOK_MAX; ++*seen) {
		enum err err = read_entry(folder, s->names[*seen], &out[*count], &looked_at);
		if (err == ERR_OK)
			(*count)++;
		else if (err != ERR_NOT_FOUND)
			return err;
	}
	return ERR_OK;
}

enum err images_list(const struct uploads *store, uint64_t user, struct sv after, size_t limit, struct image_entry *out,
                     size_t *count, char next[IMAGE_ID_SIZE])
{
	/* One more than asked for: whether there is a next page. */
	struct smallest s = { .most = limit + 1 };

	size_t seen = 0;

	CHECK(limit >= 1 && limit <= IMAGES_LIST_MAX && (after.n == 0 || image_id_ok(after)));
	*count = 0;
	next[0] = '\0';
	int folder = user_folder_open(store->dir_fd, user);
	if (folder < 0)
		return errno == ENOENT ? ERR_OK : ERR_IO;
	s.names = calloc(s.most, sizeof(file_name));
	enum err err = s.names != NULL ? collect(folder, after, &s) : ERR_NOMEM;
	if (err == ERR_OK) {
		qsort(s.names, s.count, sizeof(file_name), compare);
		err = fill(folder, &s, limit, out, count, &seen);
	}
	if (err == ERR_OK && s.count > seen) {
		memcpy(next, s.names[seen - 1], IMAGE_ID_CHARS);
		next[IMAGE_ID_CHARS] = '\0';
	}
	int saved = errno;
	free(s.names);
	close(folder);
	errno = saved;
	return err;
}
