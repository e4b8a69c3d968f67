#include "api/upload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/sv.h"

#define PART_PREFIX  ".part-"
#define NAME_MAX_LEN (sizeof(PART_PREFIX) + UPLOAD_ID_SIZE + 8)
#define FOLDER_MODE  0750
#define FILE_MODE    0640

static const int open_folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

static void hex(const uint8_t *in, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * n] = '\0';
}

enum err uploads_open(struct uploads *store, const char *path, uint64_t max_size)
{
	store->max_size = max_size;
	if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST) {
		store->dir_fd = -1;
		return ERR_IO;
	}
	/* The operator's path may be a symbolic link; what stands inside may not. */
	store->dir_fd = open(path, open_folder_flags & ~O_NOFOLLOW);
	return store->dir_fd >= 0 ? ERR_OK : ERR_IO;
}

void uploads_close(struct uploads *store)
{
	if (store->dir_fd >= 0)
		close(store->dir_fd);
	store->dir_fd = -1;
}

/* Takes ownership of fd. */
static size_t clean_folder(int fd, int64_t older_than)
{
	size_t removed = 0;
	struct dirent *entry;
	struct stat st;

	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return 0;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (!sv_starts(sv_str(entry->d_name), SV(PART_PREFIX)))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
			continue;
		if (st.st_mtime < older_than && unlinkat(dirfd(dir), entry->d_name, 0) == 0)
			removed++;
	}
	closedir(dir);
	return removed;
}

size_t uploads_clean(const struct uploads *store, int64_t older_than, bool (*stop)(void))
{
	size_t removed = 0;
	struct dirent *entry;
	uint64_t user;

	int fd = openat(store->dir_fd, ".", open_folder_flags);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((stop == NULL || !stop()) && (entry = readdir(dir)) != NULL) {
		if (sv_to_u64(sv_str(entry->d_name), &user) != ERR_OK)
			continue;
		int folder = openat(store->dir_fd, entry->d_name, open_folder_flags);
		if (folder >= 0)
			removed += clean_folder(folder, older_than);
	}
	closedir(dir);
	return removed;
}

void upload_init(struct upload *up)
{
	*up = (struct upload){ .folder_fd = -1, .fd = -1 };
}

bool upload_is_open(const struct upload *up)
{
	return up->folder_fd >= 0;
}

/* Leaves the file alone and errno as it was. */
static void upload_close(struct upload *up)
{
	int saved = errno;

	if (up->fd >= 0)
		close(up->fd);
	if (up->folder_fd >= 0)
		close(up->folder_fd);
	EVP_MD_CTX_free(up->sha);
	upload_init(up);
	errno = saved;
}

static void part_name(const struct upload *up, char name[NAME_MAX_LEN])
{
	snprintf(name, NAME_MAX_LEN, PART_PREFIX "%s", up->id);
}

/* The user's folder, made when it is missing; -1 and errno on an error. */
static int open_folder(const struct uploads *store, uint64_t user)
{
	char name[24];

	snprintf(name, sizeof(name), "%" PRIu64, user);
	int fd = openat(store->dir_fd, name, open_folder_flags);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (mkdirat(store->dir_fd, name, FOLDER_MODE) != 0 && errno != EEXIST)
		return -1;
	/* The folder's own name must outlive a crash too. */
	if (fsync(store->dir_fd) != 0)
		return -1;
	return openat(store->dir_fd, name, open_folder_flags);
}

enum err upload_begin(struct upload *up, const struct uploads *store, uint64_t user)
{
	uint8_t random[16];
	char name[NAME_MAX_LEN];

	upload_init(up);
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return ERR_IO;
	up->store = store;
	hex(random, sizeof(random), up->id);
	up->sha = EVP_MD_CTX_new();
	if (up->sha == NULL || EVP_DigestInit_ex(up->sha, EVP_sha256(), NULL) != 1) {
		upload_close(up);
		return ERR_CRYPTO;
	}
	up->folder_fd = open_folder(store, user);
	part_name(up, name);
	if (up->folder_fd >= 0)
		up->fd = openat(up->folder_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
	if (up->fd < 0) {
		upload_close(up);
		return ERR_IO;
	}
	return ERR_OK;
}

enum err upload_write(struct upload *up, const void *data, size_t len)
{
	const char *p = data;

	CHECK(upload_is_open(up));
	if (len > up->store->max_size - up->bytes)
		return ERR_RANGE;
	if (EVP_DigestUpdate(up->sha, data, len) != 1)
		return ERR_CRYPTO;
	up->bytes += len;
	while (len > 0) {
		ssize_t n = write(up->fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		p += n;
		len -= (size_t)n;
	}
	return ERR_OK;
}

static enum err probe_file(const struct upload *up, struct image_info *image)
{
	if (up->bytes == 0)
		return ERR_UNSUPPORTED;
	void *map = mmap(NULL, up->bytes, PROT_READ, MAP_PRIVATE, up->fd, 0);
	if (map == MAP_FAILED)
		return ERR_IO;
	enum err err = image_probe(map, up->bytes, image);
	munmap(map, up->bytes);
	return err;
}

/* Some file systems have no RENAME_NOREPLACE; a hard link does not replace either. */
static enum err rename_new(int folder, const char *from, const char *to)
{
	if (renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0)
		return ERR_OK;
	if (errno != EINVAL && errno != ENOSYS)
		return ERR_IO;
	if (linkat(folder, from, folder, to, 0) != 0)
		return ERR_IO;
	if (unlinkat(folder, from, 0) == 0)
		return ERR_OK;
	/* Under both names, and refused: the client must not find it later. */
	int saved = errno;
	unlinkat(folder, to, 0);
	errno = saved;
	return ERR_IO;
}

static enum err commit(struct upload *up, struct upload_result *out)
{
	char from[NAME_MAX_LEN];
	char to[NAME_MAX_LEN];
	uint8_t digest[32];
	unsigned digest_len = 0;

	enum err err = probe_file(up, &out->image);
	if (err != ERR_OK)
		return err;
	if (EVP_DigestFinal_ex(up->sha, digest, &digest_len) != 1 || digest_len != sizeof(digest))
		return ERR_CRYPTO;
	hex(digest, sizeof(digest), out->sha256);
	memcpy(out->id, up->id, sizeof(out->id));
	out->bytes = up->bytes;
	if (fsync(up->fd) != 0)
		return ERR_IO;
	part_name(up, from);
	snprintf(to, sizeof(to), "%s.%s", up->id, image_extension(out->image.type));
	err = rename_new(up->folder_fd, from, to);
	if (err != ERR_OK)
		return err;
	if (fsync(up->folder_fd) != 0) {
		int saved = errno;
		unlinkat(up->folder_fd, to, 0);
		errno = saved;
		return ERR_IO;
	}
	return ERR_OK;
}

enum err upload_commit(struct upload *up, struct upload_result *out)
{
	CHECK(upload_is_open(up));
	*out = (struct upload_result){ 0 };
	enum err err = commit(up, out);
	if (err == ERR_OK)
		upload_close(up);
	else
		upload_abort(up);
	return err;
}

void upload_abort(struct upload *up)
{
	char name[NAME_MAX_LEN];
	int saved = errno;

	if (!upload_is_open(up))
		return;
	part_name(up, name);
	unlinkat(up->folder_fd, name, 0);
	errno = saved;
	upload_close(up);
}

char *upload_result_json(const struct upload_result *r)
{
	char source[64];
	char url[96];

	snprintf(source, sizeof(source), "local:///%s.%s", r->id, image_extension(r->image.type));
	snprintf(url, sizeof(url), "/img/unsafe/plain/%s", source);
	json_t *doc = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I}", "id", r->id, "source", source, "url", url,
	                        "bytes", (json_int_t)r->bytes, "content_type", image_content_type(r->image.type),
	                        "sha256", r->sha256, "width", (json_int_t)r->image.width, "height",
	                        (json_int_t)r->image.height);
	if (doc == NULL)
		return NULL;
	char *text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return text;
}
