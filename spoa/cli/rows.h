/* How users and keys are printed; shared by the command groups. */
#pragma once

#include <stdio.h>

#include <jansson.h>

#include "store/admin_key.h"
#include "store/admin_user.h"

json_t *rows_user_json(const struct admin_user *u);
void rows_user_table(FILE *f, const struct admin_users *list);

json_t *rows_key_json(const struct admin_key *k);
json_t *rows_keys_json(const struct admin_keys *list);
void rows_key_table(FILE *f, const struct admin_keys *list);
