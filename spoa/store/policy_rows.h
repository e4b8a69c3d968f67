/* Rows of PostgreSQL to records of policy.mdb, and the statements that give such rows. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cidr.h"
#include "base/err.h"
#include "io/pg_result.h"
#include "policy/record.h"
#include "store/policy_db.h"

/*
 * A user with limits, quotas and allow list: one row holds the whole record. Rows of deleted users do not appear.
 * Columns: id, is_active, then requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour (NULL without
 * a row of rate_limits), monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests, shadow_bandwidth (NULL
 * without a row of quotas), and the allow list as a comma list (NULL: from anywhere).
 */
#define POLICY_ROWS_USERS(allow, joins)                                                         \
	"SELECT u.id, u.is_active, "                                                            \
	"r.requests_per_minute, r.requests_per_hour, r.burst, r.shadow_minute, r.shadow_hour, " \
	"q.monthly_requests, q.monthly_bandwidth_mb, q.reset_day, q.shadow_requests, "          \
	"q.shadow_bandwidth, " allow " FROM users AS u " joins " WHERE u.deleted_at IS NULL"

/* All of them, by id: each table is read once in the order of its index, and the allow lists are made on the way. */
#define POLICY_ROWS_USERS_ALL                                                                              \
	POLICY_ROWS_USERS("w.allow", "LEFT JOIN rate_limits AS r ON r.user_id = u.id "                     \
	                             "LEFT JOIN quotas AS q ON q.user_id = u.id "                          \
	                             "LEFT JOIN (SELECT user_id, string_agg(ip_cidr::text, ',') AS allow " \
	                             "FROM ip_whitelist GROUP BY user_id) AS w ON w.user_id = u.id")       \
	" ORDER BY u.id"

/*
 * Those of the array $1: one probe of each index for a user. LIMIT 1 says what the keys say as well, and keeps the
 * planner from reading whole tables for some hundred users.
 */
#define POLICY_ROWS_USERS_BY_ID                                                                                      \
	POLICY_ROWS_USERS("(SELECT string_agg(w.ip_cidr::text, ',') FROM ip_whitelist AS w WHERE w.user_id = u.id)", \
	                  "LEFT JOIN LATERAL (SELECT * FROM rate_limits WHERE user_id = u.id LIMIT 1) AS r ON true " \
	                  "LEFT JOIN LATERAL (SELECT * FROM quotas WHERE user_id = u.id LIMIT 1) AS q ON true")      \
	" AND u.id = ANY ($1::bigint[])"

/* Columns: id, user_id, key_hash, scopes as a comma list, active, expiry in whole seconds (NULL: never). */
#define POLICY_ROWS_KEYS_COLUMNS                                                                         \
	"SELECT id, user_id, key_hash, array_to_string(scopes, ','), is_active AND revoked_at IS NULL, " \
	"CASE WHEN expires_at = '-infinity' THEN 0 WHEN expires_at < 'infinity' "                        \
	"THEN ceil(extract(epoch FROM expires_at))::bigint END FROM api_keys"
#define POLICY_ROWS_KEYS_ALL   POLICY_ROWS_KEYS_COLUMNS " ORDER BY id"
#define POLICY_ROWS_KEYS_BY_ID POLICY_ROWS_KEYS_COLUMNS " WHERE id = ANY ($1::bigint[])"

/*
 * A user's record, which grows with its allow list. Its owner zeroes it, fills it again and again, and calls
 * policy_rows_free() at the end.
 */
struct policy_user_row {
	struct policy_user *user; /* the record of the last row */
	size_t size;              /* its bytes, allow list included */
	/* Private. */
	size_t room;
	struct cidr *blocks;
	size_t blocks_room;
};

/*
 * ERR_INVALID for a row that no record can hold (a negative number, an allow list with something that is no block); it
 * is then left out, which refuses the user. What is wrong never makes a record that allows more.
 */
MUST_CHECK enum err policy_rows_user(const struct pg_result *r, size_t row, uint64_t *id, struct policy_user_row *out);
void policy_rows_free(struct policy_user_row *row);
/* A key whose stored hash or scopes this build does not understand comes without KEY_USABLE: it never passes. */
MUST_CHECK enum err policy_rows_key(const struct pg_result *r, size_t row, uint64_t *id, struct policy_key *out);

/* The line for a row that was left out. */
void policy_rows_log_bad(enum policy_table table, const struct pg_result *r, size_t row);
