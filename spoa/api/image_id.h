/*
 * Ids of uploaded images, and the names of their files.
 *
 * An id is the first 128 bits, as 32 lower-case hex digits, of HMAC-SHA-256(k, user id in decimal || ":" || SHA-256 of
 * the content), where k = HMAC-SHA-256(pepper, "igw-image-id-v1"). So the same content has one id for a user, nobody
 * without the pepper can tell an id from a content, and the ids of two users say nothing of each other. The file is
 * `<id>.<extension of its type>`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "api/image_probe.h"
#include "base/err.h"
#include "base/hmac.h"
#include "base/sv.h"

#define IMAGE_ID_CHARS 32
/* With the NUL. */
#define IMAGE_ID_SIZE   (IMAGE_ID_CHARS + 1)
#define IMAGE_NAME_SIZE (IMAGE_ID_SIZE + 6)

/* Prepares k. ERR_CRYPTO. */
MUST_CHECK enum err image_id_key(struct hmac_sha256 *k, struct sv pepper);

MUST_CHECK enum err image_id_make(const struct hmac_sha256 *k, uint64_t user, const uint8_t sha256[HMAC_SHA256_SIZE],
                                  char id[IMAGE_ID_SIZE]);

/* Exactly 32 lower-case hex digits; nothing else can be an id, whoever sent it. */
bool image_id_ok(struct sv text);

/* `<id>.<extension>`; the id must be one. */
void image_name(const char *id, enum image_type type, char name[IMAGE_NAME_SIZE]);

/* Whether a file's name is `<id>.<extension>`; *type is set then. */
bool image_name_ok(struct sv name, enum image_type *type);
