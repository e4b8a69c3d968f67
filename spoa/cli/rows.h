/* How users, keys and numbers are printed; shared by the command groups. */
#pragma once

#include <stdio.h>

#include <jansson.h>

#include "store/admin_key.h"
#include "store/admin_limit.h"
#include "store/admin_user.h"

json_t *rows_user_json(const struct admin_user *u);
void rows_user_table(FILE *f, const struct admin_users *list);

json_t *rows_key_json(const struct admin_key *k);
json_t *rows_keys_json(const struct admin_keys *list);
void rows_key_table(FILE *f, const struct admin_keys *list);

#define ROWS_TEXT_MAX 32

/* The number that holds. */
uint64_t rows_effective(const struct admin_number *n, int64_t setting);
/* A limit for people: "none" for 0. Returns buf. */
const char *rows_limit(uint64_t limit, char buf[ROWS_TEXT_MAX]);
/* Where a number comes from, for people. */
const char *rows_from(const struct admin_number *n, const char *otherwise);
/* What is used of a limit in whole percents, rounded down: as JSON, null without a limit; as text, then NULL. */
json_t *rows_percent_json(uint64_t used, uint64_t limit);
const char *rows_percent_text(uint64_t used, uint64_t limit, char buf[ROWS_TEXT_MAX]);
/* A moment in UTC, as 2026-01-31T12:00:00Z. Returns buf. */
const char *rows_time(int64_t seconds, char buf[ROWS_TEXT_MAX]);
/* The names whose bit is set, as JSON. */
json_t *rows_names_json(const char *const *names, size_t count, unsigned set);
