/*
 * Policy files, as `gatewayctl apply` takes and `gatewayctl export` writes them: YAML 1.1 in UTF-8, one document, whose
 * form docs/gatewayctl.md describes. All values are read as texts, whether quoted or not. JSON is YAML too.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#include "store/admin_policy.h"

/*
 * Reads a file's text into *out (zeros), which is whole then. What is wrong is added to `errors`, whose `file` is set;
 * when that is anything, *out is not what the file says. *out is freed in any case.
 */
void policy_file_read(const char *text, size_t size, struct admin_policy *out, struct admin_policy_errors *errors);

/*
 * Writes a policy of the database so that reading it gives the same again, and always in the same bytes. Keys that were
 * rotated are left out; a key has its id only where its name does not tell which one it is.
 */
void policy_file_write(FILE *f, const struct admin_policy *p);
/* The same as one value. */
json_t *policy_file_json(const struct admin_policy *p);

/*
 * A text as it stands in the file: as it is, or between quotes and with escapes where YAML, or a terminal, would see
 * something else in it.
 */
void policy_file_put_text(FILE *f, const char *text);
