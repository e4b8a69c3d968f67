/*
 * The upload store: files of uploads.dir/<user id>/<image id>.<ext>, one upload at a time from its first byte to its
 * name. It knows nothing of HTTP.
 *
 * Bytes go to `.part-<image id>` in the user's folder and through SHA-256. A commit reads the image header from the
 * file, syncs the file, gives it its name without ever replacing another, and syncs the folder: what was answered with
 * 200 is on the disk. Everything else leaves no file behind, but for a crash; uploads_clean() removes those leftovers.
 * Folders are made 0750 and files 0640 less the umask, so that an image server in the same group can read them.
 *
 * Calls block on the disk. Different uploads may be used by different threads at once, one upload by one at a time.
 */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/image_probe.h"
#include "base/err.h"

/* 128 random bits in lower-case hex, and NUL */
#define UPLOAD_ID_SIZE 33

struct uploads {
	int dir_fd;
	uint64_t max_size; /* the most bytes of one file */
};

struct upload {
	const struct uploads *store;
	int folder_fd; /* of the user; -1 when the upload is not open */
	int fd;
	uint64_t bytes;
	EVP_MD_CTX *sha;
	char id[UPLOAD_ID_SIZE];
};

struct upload_result {
	char id[UPLOAD_ID_SIZE];
	uint64_t bytes;
	struct image_info image;
	char sha256[65]; /* lower-case hex */
};

/* Opens the folder `path` and makes it when it is missing (its parent must exist). ERR_IO: errno says why. */
MUST_CHECK enum err uploads_open(struct uploads *store, const char *path, uint64_t max_size);
void uploads_close(struct uploads *store);

/*
 * Removes the temporary files that were last written before older_than (seconds since 1970). Ends early when stop()
 * says so; stop may be NULL. Returns how many were removed.
 */
size_t uploads_clean(const struct uploads *store, int64_t older_than, bool (*stop)(void));

/* An upload that is not open: upload_abort() does nothing to it. */
void upload_init(struct upload *up);

/* Opens the temporary file, and makes the user's folder. ERR_IO (errno), ERR_CRYPTO; then *up is not open. */
MUST_CHECK enum err upload_begin(struct upload *up, const struct uploads *store, uint64_t user);
bool upload_is_open(const struct upload *up);

/* ERR_RANGE: more than max_size in all. ERR_IO: errno says why. The upload stays open: abort it. */
MUST_CHECK enum err upload_write(struct upload *up, const void *data, size_t len);

/*
 * Ends the upload: it is not open afterwards, whatever the result. ERR_UNSUPPORTED and ERR_INVALID: see image_probe();
 * ERR_IO: errno says why; ERR_CRYPTO. No file is left on an error.
 */
MUST_CHECK enum err upload_commit(struct upload *up, struct upload_result *out);

/* Ends the upload and removes its file. May be called again. */
void upload_abort(struct upload *up);

/* The answer {id, source, url, bytes, content_type, sha256, width, height}; the caller frees it; NULL without memory.
 */
char *upload_result_json(const struct upload_result *r);
