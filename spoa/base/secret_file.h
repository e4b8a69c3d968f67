/*
 * A secret in a file of its own, as Docker, Kubernetes and systemd hand them out: one line of text, with or without a
 * line feed at its end.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define SECRET_FILE_MAX 4096 /* bytes of the file */

/*
 * Reads the secret in the file `path`; *out is freed by the caller, NULL on an error. ERR_IO: the file cannot be read;
 * ERR_INVALID: it is no regular file, is too large, empty, or has more than one line of printable text. `error` then
 * holds one line that begins with the path and says nothing of what is in the file.
 */
MUST_CHECK enum err secret_file_read(const char *path, char **out, char *error, size_t size);
