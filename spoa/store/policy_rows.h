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
 * A user with limits, quotas, lists and bounds of images: one row holds the whole record. Rows of deleted users do not
 * appear. Columns: id, is_active, then requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour (NULL
 * without a row of rate_limits), monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests, shadow_bandwidth
 * (NULL without a row of quotas), the allow list as a comma list (NULL: from anywhere), storage_mb of quotas; then
 * max_dimension, max_dpr, max_zoom and max_blur in thousandths, max_quality, require_expires, the presets as a comma
 * list (NULL without a row of image_policies), and the prefixes of sources with blanks between them (NULL: none).
 */
#define POLICY_ROWS_USERS(allow, sources, joins)                                                       \
	"SELECT u.id, u.is_active, "                                                                   \
	"r.requests_per_minute, r.requests_per_hour, r.burst, r.shadow_minute, r.shadow_hour, "        \
	"q.monthly_requests, q.monthly_bandwidth_mb, q.reset_day, q.shadow_requests, "                 \
	"q.shadow_bandwidth, " allow ", q.storage_mb, p.max_dimension, (p.max_dpr * 1000)::bigint, "   \
	"(p.max_zoom * 1000)::bigint, (p.max_blur * 1000)::bigint, p.max_quality, p.require_expires, " \
	"array_to_string(p.presets, ','), " sources " FROM users AS u " joins " WHERE u.deleted_at IS NULL"

/* All of them, by id: each table is read once in the order of its index, and the allow lists are made on the way. */
#define POLICY_ROWS_USERS_ALL                                                                              \
	POLICY_ROWS_USERS("w.allow", "s.sources",                                                          \
	                  "LEFT JOIN rate_limits AS r ON r.user_id = u.id "                                \
	                  "LEFT JOIN quotas AS q ON q.user_id = u.id "                                     \
	                  "LEFT JOIN image_policies AS p ON p.user_id = u.id "                             \
	                  "LEFT JOIN (SELECT user_id, string_agg(ip_cidr::text, ',') AS allow "            \
	                  "FROM ip_whitelist GROUP BY user_id) AS w ON w.user_id = u.id "                  \
	                  "LEFT JOIN (SELECT user_id, string_agg(prefix, ' ' ORDER BY prefix) AS sources " \
	                  "FROM allowed_sources GROUP BY user_id) AS s ON s.user_id = u.id")               \
	" ORDER BY u.id"

/*
 * Those of the array $1: one probe of each index for a user. LIMIT 1 says what the keys say as well, and keeps the
 * planner from reading whole tables for some hundred users.
 */
#define POLICY_ROWS_USERS_BY_ID                                                                                    \
	POLICY_ROWS_USERS(                                                                                         \
	        "(SELECT string_agg(w.ip_cidr::text, ',') FROM ip_whitelist AS w WHERE w.user_id = u.id)",         \
	        "(SELECT string_agg(s.prefix, ' ' ORDER BY s.prefix) FROM allowed_sources AS s WHERE s.user_id = " \
	        "u.id)",                                                                                           \
	        "LEFT JOIN LATERAL (SELECT * FROM rate_limits WHERE user_id = u.id LIMIT 1) AS r ON true "         \
	        "LEFT JOIN LATERAL (SELECT * FROM quotas WHERE user_id = u.id LIMIT 1) AS q ON true "              \
	        "LEFT JOIN LATERAL (SELECT * FROM image_policies WHERE user_id = u.id LIMIT 1) AS p ON true")      \
	" AND u.id = ANY ($1::bigint[])"

/*
 * Columns: id, user_id, key_hash, scopes as a comma list, active, expiry in whole seconds (NULL: never), which are
 * those that gatewayctl and the API show, so that no key passes at the time at which it is said to end; and the sealed
 * signing key in hex (NULL: none).
 */
#define POLICY_ROWS_KEYS_COLUMNS                                                                         \
	"SELECT id, user_id, key_hash, array_to_string(scopes, ','), is_active AND revoked_at IS NULL, " \
	"CASE WHEN expires_at = '-infinity' THEN 0 WHEN expires_at < 'infinity' "                        \
	"THEN floor(extract(epoch FROM expires_at))::bigint END, encode(signing, 'hex') FROM api_keys"
#define POLICY_ROWS_KEYS_ALL   POLICY_ROWS_KEYS_COLUMNS " ORDER BY id"
#define POLICY_ROWS_KEYS_BY_ID POLICY_ROWS_KEYS_COLUMNS " WHERE id = ANY ($1::bigint[])"

/*
 * A user's record, which grows with its lists. Its owner zeroes it, fills it again and again, and calls
 * policy_rows_free() at the end.
 */
struct policy_user_row {
	struct policy_user *user; /* the record of the last row */
	size_t size;              /* its bytes, lists included */
	/* Private. */
	size_t room;
	struct cidr *blocks;
	size_t blocks_room;
};

/* A key's record, with room for its signing key. */
union policy_key_row {
	struct policy_key key;
	uint8_t bytes[sizeof(struct policy_key) + SEALED_SIZE];
};

/*
 * ERR_INVALID for a row that no record can hold (a negative number, an allow list with something that is no block, more
 * sources or presets than POLICY_SOURCES_MAX and POLICY_PRESETS_MAX, or one that is empty or too long); it
 * is then left out, which refuses the user. What is wrong never makes a record that allows more.
 */
MUST_CHECK enum err policy_rows_user(const struct pg_result *r, size_t row, uint64_t *id, struct policy_user_row *out);
void policy_rows_free(struct policy_user_row *row);
/*
 * A key whose stored hash or scopes this build does not understand comes without KEY_USABLE: it never passes. A signing
 * key that is not as long as it must be is left out. *size is the record's.
 */
MUST_CHECK enum err policy_rows_key(const struct pg_result *r, size_t row, uint64_t *id, union policy_key_row *out,
                                    size_t *size);

/* The line for a row that was left out. */
void policy_rows_log_bad(enum policy_table table, const struct pg_result *r, size_t row);
