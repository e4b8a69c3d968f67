/* Rows of PostgreSQL to records of policy.mdb, and the statements that give such rows. */
#pragma once

#include "base/err.h"
#include "io/pg_result.h"
#include "policy/record.h"
#include "store/policy_db.h"

/* Columns: id, is_active. Rows of deleted users do not appear. */
#define POLICY_ROWS_USERS "SELECT id, is_active FROM users WHERE deleted_at IS NULL"

/* Columns: id, user_id, key_hash, scopes as a comma list, active, expiry in whole seconds (NULL: never). */
#define POLICY_ROWS_KEYS                                                                                 \
	"SELECT id, user_id, key_hash, array_to_string(scopes, ','), is_active AND revoked_at IS NULL, " \
	"CASE WHEN expires_at = '-infinity' THEN 0 WHEN expires_at < 'infinity' "                        \
	"THEN ceil(extract(epoch FROM expires_at))::bigint END FROM api_keys"

/* ERR_INVALID for a row that no record can hold (a negative id); it is then left out, which refuses it. */
MUST_CHECK enum err policy_rows_user(const struct pg_result *r, size_t row, uint64_t *id, struct policy_user *out);
/* A key whose stored hash or scopes this build does not understand comes without KEY_USABLE: it never passes. */
MUST_CHECK enum err policy_rows_key(const struct pg_result *r, size_t row, uint64_t *id, struct policy_key *out);

/* The line for a row that was left out. */
void policy_rows_log_bad(enum policy_table table, const struct pg_result *r, size_t row);
