/* How users, keys and numbers are printed; shared by the command groups. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "store/admin_key.h"
#include "store/admin_limit.h"
#include "store/admin_user.h"

void rows_user_table(FILE *f, const struct admin_users *list);
void rows_key_table(FILE *f, const struct admin_keys *list);

#define ROWS_TEXT_MAX 32

/* A limit for people: "none" for 0. Returns buf. */
const char *rows_limit(uint64_t limit, char buf[ROWS_TEXT_MAX]);
/* Where a number comes from, for people. */
const char *rows_from(const struct admin_number *n, const char *otherwise);
/* What is used of a limit in whole percents, rounded down; NULL without a limit. */
const char *rows_percent_text(uint64_t used, uint64_t limit, char buf[ROWS_TEXT_MAX]);
