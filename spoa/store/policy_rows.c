#include "store/policy_rows.h"

#include <string.h>

#include "base/log.h"
#include "base/sv.h"
#include "policy/key.h"
#include "policy/scope.h"

enum err policy_rows_user(const struct pg_result *r, size_t row, uint64_t *id, struct policy_user *out)
{
	bool active;

	if (pg_result_u64(r, row, 0, id) != ERR_OK || pg_result_bool(r, row, 1, &active) != ERR_OK)
		return ERR_INVALID;
	memset(out, 0, sizeof(*out));
	out->version = POLICY_LAYOUT;
	out->flags = active ? USER_ACTIVE : 0;
	return ERR_OK;
}

enum err policy_rows_key(const struct pg_result *r, size_t row, uint64_t *id, struct policy_key *out)
{
	uint64_t user_id;
	uint32_t scopes = 0;
	int64_t expires_at = 0;
	bool active;

	if (pg_result_u64(r, row, 0, id) != ERR_OK || pg_result_u64(r, row, 1, &user_id) != ERR_OK ||
	    pg_result_bool(r, row, 4, &active) != ERR_OK)
		return ERR_INVALID;
	if (!pg_result_null(r, row, 5) && pg_result_i64(r, row, 5, &expires_at) != ERR_OK)
		return ERR_INVALID;
	memset(out, 0, sizeof(*out));
	out->version = POLICY_LAYOUT;
	out->user_id = user_id;
	/* 0 stands for "never" in the record; a key that expired in 1970 is one that expired. */
	out->expires_at = !pg_result_null(r, row, 5) && expires_at <= 0 ? 1 : expires_at;
	if (active)
		out->flags |= KEY_ACTIVE;
	if (key_hash_from_hex(pg_result_value(r, row, 2), out->hash) == ERR_OK &&
	    scopes_parse(pg_result_value(r, row, 3), &scopes) == ERR_OK)
		out->flags |= KEY_USABLE;
	out->scopes = (uint16_t)scopes;
	return ERR_OK;
}

void policy_rows_log_bad(enum policy_table table, const struct pg_result *r, size_t row)
{
	log_error("policy: a row of %s cannot be used and is left out: id=%.*s",
	          table == POLICY_USERS ? "users" : "api_keys", SV_ARG(pg_result_value(r, row, 0)));
}
