/*
 * The upload store: files of uploads.dir/<user id>/<image id>.<ext>, one upload at a time from its first byte to its
 * name. It knows nothing of HTTP.
 *
 * Bytes go through SHA-256 and a buffer (buffers.h) to a temporary file in the user's folder (user_folder.h). A commit
 * reads the image header from the file, syncs the file, gives it the name that follows from its content (image_id.h)
 * without ever replacing another, and syncs the folder: what was answered with 200 is on the disk. When a file has that
 * name already, the same content is there, and that one is the result. Everything else leaves no file behind, but for a
 * crash; parts_clean() removes those leftovers. Folders are made 0750 and files 0640 less the umask, so that an image
 * server in the same group can read them.
 *
 * Whole buffers are written past the page cache (O_DIRECT) where the file system does that: a large file needs no
 * second copy in memory on its way to the disk, and its fsync has little left to do.
 *
 * Storage (storage.h) is reserved before the first byte, and what was not needed is given back at the end.
 *
 * Calls block on the disk. Different uploads may be used by different threads at once, one upload by one at a time.
 */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/buffers.h"
#include "api/image_file.h"
#include "api/image_id.h"
#include "api/image_probe.h"
#include "api/storage.h"
#include "api/user_folder.h"
#include "base/err.h"
#include "base/hmac.h"

struct uploads {
	int dir_fd;
	uint64_t max_size;   /* the most bytes of one file */
	uint64_t max_pixels; /* of width x height x frames; 0: no limit */
	uint32_t max_ratio;  /* of the longer side to the shorter one; 0: no limit */
	bool allow_svg;
	struct hmac_sha256 id_key;
	struct storage *storage;
	struct buffers *buffers;
};

struct uploads_rules {
	const char *dir;
	const char *pepper; /* of the ids, not empty */
	uint64_t max_size;
	uint64_t max_pixels;
	uint32_t max_ratio;
	bool allow_svg;
	uint64_t settle_ns; /* see storage_new() */
};

struct upload {
	const struct uploads *store;
	struct storage_account *account; /* NULL when the upload is not open */
	uint64_t user;
	uint64_t limit;    /* of the user's storage, 0: none */
	uint64_t reserved; /* in whole blocks; see storage.h */
	uint64_t bytes;
	uint64_t flushed; /* bytes that the kernel was told to write */
	uint8_t *buffer;
	size_t buffered; /* of the bytes, not written yet */
	bool direct;     /* the file is open with O_DIRECT now */
	bool no_direct;  /* the file system does not do that */
	uint8_t first[IMAGE_FILE_FIRST];
	int folder_fd;
	int fd;
	EVP_MD_CTX *sha;
	char part[PART_NAME_SIZE];
};

struct upload_result {
	char id[IMAGE_ID_SIZE];
	uint64_t bytes;
	struct image_info image;
	char sha256[65]; /* lower-case hex */
	bool existed;    /* the same content was there */
	const char *why; /* of a refusal: a static text for the client, or NULL */
	uint64_t pixels; /* of a refusal for its size in pixels, else 0 */
};

/*
 * Opens the folder and makes it when it is missing (its parent must exist). ERR_IO: errno says why. ERR_NOMEM,
 * ERR_CRYPTO. uploads_close() is allowed in any case.
 */
MUST_CHECK enum err uploads_open(struct uploads *store, const struct uploads_rules *rules);
void uploads_close(struct uploads *store);

/* An upload that is not open: upload_abort() does nothing to it. */
void upload_init(struct upload *up);

/*
 * Reserves room for `want` bytes of the user's storage limit (0: none), or what is left when that is at least `least`;
 * opens the temporary file, and makes the user's folder. ERR_REFUSED: the limit, *use says what is used. ERR_IO
 * (errno), ERR_NOMEM, ERR_CRYPTO. On an error *up is not open.
 */
MUST_CHECK enum err upload_begin(struct upload *up, const struct uploads *store, uint64_t user, uint64_t limit,
                                 uint64_t want, uint64_t least, struct storage_use *use);
bool upload_is_open(const struct upload *up);

/*
 * ERR_RANGE: more than max_size in all. ERR_REFUSED: more than was reserved, and the limit does not leave more. ERR_IO:
 * errno says why. The upload stays open: abort it.
 */
MUST_CHECK enum err upload_write(struct upload *up, const void *data, size_t len, struct storage_use *use);

/*
 * Ends the upload: it is not open afterwards, whatever the result. ERR_UNSUPPORTED and ERR_INVALID: see image_file.h;
 * ERR_RANGE: too many pixels, a side too long for the other, or an SVG that is too large; ERR_IO: errno says why;
 * ERR_CRYPTO. No file is left on an error, but for one: when the folder cannot be synced, the file stays, since another
 * upload of the same content may have been told that it is there.
 */
MUST_CHECK enum err upload_commit(struct upload *up, struct upload_result *out);

/* Ends the upload and removes its file. May be called again. */
void upload_abort(struct upload *up);

/* The answer {id, source, url, bytes, content_type, sha256, width, height}; the caller frees it; NULL without memory.
 */
char *upload_result_json(const struct upload_result *r);
