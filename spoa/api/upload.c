#include "api/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/image_json.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/sv.h"

#define FOLDER_MODE 0750
/* An upload whose length is not known reserves so much at a time. */
#define RESERVE_STEP (UINT64_C(1024) * 1024)
/* The kernel begins to write while more bytes come, so that the fsync at the end waits for the last of them alone. */
#define FLUSH_STEP (UINT64_C(8) * 1024 * 1024)

/* A folder's own name must outlive a crash, before anything in it is promised to. */
static enum err sync_parent(int dir)
{
	int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* Who may write there, but not read. */
	if (parent < 0)
		return errno == EACCES ? ERR_OK : ERR_IO;
	int rc = fsync(parent);
	int saved = errno;
	close(parent);
	errno = saved;
	return rc == 0 ? ERR_OK : ERR_IO;
}

enum err uploads_open(struct uploads *store, const struct uploads_rules *rules)
{
	*store = (struct uploads){ .dir_fd = -1,
		                   .max_size = rules->max_size,
		                   .max_pixels = rules->max_pixels,
		                   .max_ratio = rules->max_ratio,
		                   .allow_svg = rules->allow_svg };
	enum err err = image_id_key(&store->id_key, sv_str(rules->pepper));
	if (err != ERR_OK)
		return err;
	store->storage = storage_new(rules->settle_ns);
	store->buffers = buffers_new();
	if (store->storage == NULL || store->buffers == NULL)
		return ERR_NOMEM;
	bool made = mkdir(rules->dir, FOLDER_MODE) == 0;
	if (!made && errno != EEXIST)
		return ERR_IO;
	/* The operator's path may be a symbolic link; what stands inside may not. */
	store->dir_fd = open(rules->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir_fd < 0)
		return ERR_IO;
	return made ? sync_parent(store->dir_fd) : ERR_OK;
}

void uploads_close(struct uploads *store)
{
	if (store->dir_fd >= 0)
		close(store->dir_fd);
	store->dir_fd = -1;
	storage_free(store->storage);
	buffers_free(store->buffers);
	store->storage = NULL;
	store->buffers = NULL;
}

void upload_init(struct upload *up)
{
	*up = (struct upload){ .folder_fd = -1, .fd = -1 };
}

bool upload_is_open(const struct upload *up)
{
	return up->account != NULL;
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
	if (up->buffer != NULL)
		buffers_give(up->store->buffers, up->buffer);
	if (up->account != NULL) {
		storage_release(up->account, up->reserved);
		storage_close(up->store->storage, up->account);
	}
	upload_init(up);
	errno = saved;
}

static enum err open_all(struct upload *up, uint64_t want, uint64_t least, struct storage_use *use)
{
	up->account = storage_open(up->store->storage, up->user);
	if (up->account == NULL)
		return ERR_NOMEM;
	up->sha = EVP_MD_CTX_new();
	if (up->sha == NULL || EVP_DigestInit_ex(up->sha, EVP_sha256(), NULL) != 1)
		return ERR_CRYPTO;
	up->folder_fd = user_folder_make(up->store->dir_fd, up->user);
	if (up->folder_fd < 0)
		return ERR_IO;
	uint64_t got;
	enum err err = storage_reserve(up->account, up->folder_fd, up->limit, want, least, clock_mono_ns(), &got, use);
	if (err != ERR_OK)
		return err;
	up->reserved = got;
	up->fd = part_create(up->folder_fd, up->part);
	return up->fd >= 0 ? ERR_OK : ERR_IO;
}

enum err upload_begin(struct upload *up, const struct uploads *store, uint64_t user, uint64_t limit, uint64_t want,
                      uint64_t least, struct storage_use *use)
{
	upload_init(up);
	up->store = store;
	up->user = user;
	up->limit = limit;
	enum err err = open_all(up, want, least, use);
	if (err != ERR_OK)
		upload_close(up);
	return err;
}

/* Of a length that was not told, or a form of which only what is left was reserved. */
static enum err reserve_more(struct upload *up, uint64_t need, struct storage_use *use)
{
	uint64_t got;

	enum err err = storage_reserve(up->account, up->folder_fd, up->limit, need > RESERVE_STEP ? need : RESERVE_STEP,
	                               need, clock_mono_ns(), &got, use);
	if (err == ERR_OK)
		up->reserved += got;
	return err;
}

/* O_DIRECT wants whole blocks: full buffers are, the rest at the end is not. */
static void set_direct(struct upload *up, bool direct)
{
	if (up->direct == direct || (direct && up->no_direct))
		return;
	int flags = fcntl(up->fd, F_GETFL);
	if (flags >= 0 && fcntl(up->fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0)
		up->direct = direct;
	else
		up->no_direct = true;
}

/* What the buffer holds goes to the file. */
static enum err write_out(struct upload *up)
{
	const uint8_t *p = up->buffer;

	set_direct(up, up->buffered == BUFFER_SIZE);
	while (up->buffered > 0) {
		ssize_t n = write(up->fd, p, up->buffered);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EINVAL && up->direct) {
			up->no_direct = true;
			set_direct(up, false);
			continue;
		}
		if (n < 0)
			return ERR_IO;
		p += n;
		up->buffered -= (size_t)n;
	}
	if (up->no_direct && up->bytes - up->flushed >= FLUSH_STEP) {
		/* A hint: whether the bytes are on the disk, the fsync says. */
		sync_file_range(up->fd, (off_t)up->flushed, (off_t)(up->bytes - up->flushed), SYNC_FILE_RANGE_WRITE);
		up->flushed = up->bytes;
	}
	return ERR_OK;
}

enum err upload_write(struct upload *up, const void *data, size_t len, struct storage_use *use)
{
	const char *p = data;

	CHECK(upload_is_open(up));
	if (len > up->store->max_size - up->bytes)
		return ERR_RANGE;
	if (len > up->reserved - up->bytes) {
		enum err err = reserve_more(up, len - (up->reserved - up->bytes), use);
		if (err != ERR_OK)
			return err;
	}
	if (EVP_DigestUpdate(up->sha, data, len) != 1)
		return ERR_CRYPTO;
	if (up->buffer == NULL && (up->buffer = buffers_take(up->store->buffers)) == NULL)
		return ERR_NOMEM;
	if (up->bytes < sizeof(up->first)) {
		size_t n = sizeof(up->first) - (size_t)up->bytes;
		memcpy(up->first + up->bytes, p, n < len ? n : len);
	}
	while (len > 0) {
		size_t n = len < BUFFER_SIZE - up->buffered ? len : BUFFER_SIZE - up->buffered;
		memcpy(up->buffer + up->buffered, p, n);
		up->buffered += n;
		up->bytes += n;
		p += n;
		len -= n;
		if (up->buffered == BUFFER_SIZE) {
			enum err err = write_out(up);
			if (err != ERR_OK)
				return err;
		}
	}
	return ERR_OK;
}

/* Some file systems have no RENAME_NOREPLACE; a hard link does not replace either. ERR_EXISTS: there is such a file. */
static enum err rename_new(int folder, const char *from, const char *to)
{
	if (renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0)
		return ERR_OK;
	if (errno == EEXIST)
		return ERR_EXISTS;
	if (errno != EINVAL && errno != ENOSYS)
		return ERR_IO;
	if (linkat(folder, from, folder, to, 0) != 0)
		return errno == EEXIST ? ERR_EXISTS : ERR_IO;
	if (unlinkat(folder, from, 0) == 0)
		return ERR_OK;
	/* Under both names, and refused: the client must not find it later. */
	int saved = errno;
	unlinkat(folder, to, 0);
	errno = saved;
	return ERR_IO;
}

/*
 * A file of this name has this content: names follow from contents, and a file gets its name whole. ERR_IO: something
 * else stands there, that nobody but the operator can have put there.
 */
static enum err is_same(const struct upload *up, const char *name)
{
	struct stat st;

	if (fstatat(up->folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == up->bytes)
		return ERR_OK;
	errno = EEXIST;
	return ERR_IO;
}

/* Gives the file its name, once its bytes are on the disk, or finds that it is there: then nothing needs to be synced.
 */
static enum err take_name(struct upload *up, const char *name, bool *existed)
{
	bool there = is_same(up, name) == ERR_OK;

	if (!there && fsync(up->fd) != 0)
		return ERR_IO;
	storage_lock(up->account);
	enum err err = is_same(up, name);
	*existed = err == ERR_OK;
	if (err == ERR_NOT_FOUND) {
		/* It may have been deleted since the first look. */
		err = there && fsync(up->fd) != 0 ? ERR_IO : rename_new(up->folder_fd, up->part, name);
		/* By another process, the one that this one takes over from. */
		if (err == ERR_EXISTS) {
			err = is_same(up, name) == ERR_OK ? ERR_OK : ERR_IO;
			*existed = err == ERR_OK;
		}
	}
	storage_unlock(up->account, err == ERR_OK && !*existed ? storage_size(up->bytes) : 0, 0, up->reserved);
	up->reserved = 0;
	return err;
}

/* What the bounds of options rely on (imgurl/options_bounds.c). */
static bool is_strip(const struct upload *up, const struct image_info *image)
{
	uint64_t longer = image->width > image->height ? image->width : image->height;
	uint64_t shorter = image->width > image->height ? image->height : image->width;

	return up->store->max_ratio > 0 && longer > shorter * up->store->max_ratio;
}

static enum err check_image(const struct upload *up, struct upload_result *out)
{
	unsigned flags = IMAGE_FILE_COUNT | (up->store->allow_svg ? IMAGE_FILE_SVG : 0);
	uint64_t max = up->store->max_pixels;
	uint64_t looked_at = 0;

	enum err err = image_file_probe(up->fd, up->bytes, up->first, flags, &out->image, &out->why, &looked_at);
	if (err == ERR_RANGE)
		out->why = "The SVG is larger than an SVG may be.";
	if (err != ERR_OK)
		return err;
	if (max > 0 && image_pixels(&out->image) > max) {
		out->pixels = image_pixels(&out->image);
		return ERR_RANGE;
	}
	if (is_strip(up, &out->image)) {
		out->why = "One side of the image is too long for the other.";
		return ERR_RANGE;
	}
	return ERR_OK;
}

static enum err commit(struct upload *up, struct upload_result *out)
{
	char name[IMAGE_NAME_SIZE];
	uint8_t digest[HMAC_SHA256_SIZE];
	unsigned digest_len = 0;

	enum err err = write_out(up);
	if (err == ERR_OK)
		err = check_image(up, out);
	if (err != ERR_OK)
		return err;
	if (EVP_DigestFinal_ex(up->sha, digest, &digest_len) != 1 || digest_len != sizeof(digest))
		return ERR_CRYPTO;
	hex_encode(digest, sizeof(digest), out->sha256);
	err = image_id_make(&up->store->id_key, up->user, digest, out->id);
	if (err != ERR_OK)
		return err;
	out->bytes = up->bytes;
	image_name(out->id, out->image.type, name);
	err = take_name(up, name, &out->existed);
	if (err != ERR_OK)
		return err;
	/* Also for a file that was there: whoever made it may not have come to this line yet. */
	return fsync(up->folder_fd) == 0 ? ERR_OK : ERR_IO;
}

enum err upload_commit(struct upload *up, struct upload_result *out)
{
	CHECK(upload_is_open(up));
	*out = (struct upload_result){ 0 };
	enum err err = commit(up, out);
	if (err == ERR_OK && !out->existed)
		upload_close(up);
	else
		upload_abort(up);
	return err;
}

void upload_abort(struct upload *up)
{
	int saved = errno;

	if (!upload_is_open(up))
		return;
	unlinkat(up->folder_fd, up->part, 0);
	errno = saved;
	upload_close(up);
}

char *upload_result_json(const struct upload_result *r)
{
	json_t *doc = image_json(r->id, r->image.type, r->bytes);

	if (doc == NULL)
		return NULL;
	if (json_object_set_new(doc, "sha256", json_string(r->sha256)) == 0 &&
	    image_json_size(doc, r->image.width, r->image.height))
		return image_json_text(doc);
	json_decref(doc);
	return NULL;
}
