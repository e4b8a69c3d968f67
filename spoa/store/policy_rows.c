#include "store/policy_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/sv.h"
#include "policy/key.h"
#include "policy/scope.h"

#define MB_SHIFT 20
#define MB_MAX   (UINT64_MAX >> MB_SHIFT)

enum user_column {
	USER_ID = 0,
	USER_IS_ACTIVE,
	USER_PER_MINUTE,
	USER_PER_HOUR,
	USER_BURST,
	USER_MINUTE_IN_SHADOW,
	USER_HOUR_IN_SHADOW,
	USER_MONTH_REQUESTS,
	USER_MONTH_MB,
	USER_RESET_DAY,
	USER_REQUESTS_IN_SHADOW,
	USER_BANDWIDTH_IN_SHADOW,
	USER_ALLOW,
	USER_STORAGE_MB,
	USER_MAX_DIMENSION,
	USER_MAX_DPR,
	USER_MAX_ZOOM,
	USER_MAX_BLUR,
	USER_MAX_QUALITY,
	USER_REQUIRE_EXPIRES,
	USER_PRESETS,
	USER_SOURCES,
};

enum key_column { KEY_ID = 0, KEY_USER_ID, KEY_HASH, KEY_SCOPES, KEY_IS_ACTIVE, KEY_EXPIRES_AT, KEY_SIGNING };

/* Room for n elements that grows by doubling; what it held need not stay. */
static void *grow(void *p, size_t *room, size_t n, size_t size)
{
	if (n <= *room)
		return p;
	while (*room < n)
		*room = *room > 0 ? *room * 2 : 64;
	free(p);
	return check_calloc(*room, size);
}

/* A number that may be missing. */
static enum err number(const struct pg_result *r, size_t row, size_t col, uint64_t missing, uint64_t *out)
{
	*out = missing;
	return pg_result_null(r, row, col) ? ERR_OK : pg_result_u64(r, row, col, out);
}

/* A flag that is off without a row. */
static enum err flag(const struct pg_result *r, size_t row, size_t col, uint8_t bit, uint8_t *flags)
{
	bool on = false;

	if (!pg_result_null(r, row, col) && pg_result_bool(r, row, col, &on) != ERR_OK)
		return ERR_INVALID;
	*flags |= on ? bit : 0;
	return ERR_OK;
}

/* The blocks of the comma list; all of them must be understood, since a list without them could be empty. */
static enum err read_allow(struct sv list, struct policy_user_row *out, size_t *count)
{
	struct sv rest = list;
	struct sv item;
	size_t commas = 0;

	*count = 0;
	if (list.p == NULL)
		return ERR_OK;
	for (size_t i = 0; i < list.n; i++)
		commas += list.p[i] == ',';
	out->blocks = grow(out->blocks, &out->blocks_room, commas + 1, sizeof(*out->blocks));
	while (sv_split(&rest, ',', &item))
		if (cidr_parse(item, &out->blocks[(*count)++]) != ERR_OK)
			return ERR_INVALID;
	return ERR_OK;
}

/* Bytes of the list that encode_list() makes. ERR_INVALID when it has more entries, or one of another length. */
static enum err list_size(struct sv list, char sep, size_t entries_max, size_t entry_max, size_t *size)
{
	struct sv rest = list;
	struct sv item;
	size_t count = 0;

	*size = 0;
	if (list.n == 0)
		return ERR_OK;
	while (sv_split(&rest, sep, &item)) {
		if (item.n == 0 || item.n > entry_max || ++count > entries_max)
			return ERR_INVALID;
		*size += POLICY_ENTRY_SIZE(item.n);
	}
	return ERR_OK;
}

/* As record.h says; returns what is behind it. */
static uint8_t *encode_list(struct sv list, char sep, uint8_t *out)
{
	struct sv rest = list;
	struct sv item;

	while (list.n > 0 && sv_split(&rest, sep, &item)) {
		uint16_t length = (uint16_t)item.n;
		memcpy(out, &length, sizeof(length));
		memcpy(out + sizeof(length), item.p, item.n);
		out += POLICY_ENTRY_SIZE(item.n);
	}
	return out;
}

/* MB to bytes, as far as they go. */
static uint64_t mb_bytes(uint64_t mb)
{
	if (mb == POLICY_DEFAULT)
		return POLICY_DEFAULT;
	return mb <= MB_MAX ? mb << MB_SHIFT : POLICY_DEFAULT - 1;
}

/* A bound of images, which may be missing. */
static enum err bound(const struct pg_result *r, size_t row, size_t col, uint32_t *out)
{
	uint64_t value;

	if (number(r, row, col, POLICY_BOUND_DEFAULT, &value) != ERR_OK || value > POLICY_BOUND_DEFAULT)
		return ERR_INVALID;
	*out = (uint32_t)value;
	return ERR_OK;
}

static enum err read_images(const struct pg_result *r, size_t row, struct policy_user *out)
{
	uint32_t bounds[5];
	bool expires = false;

	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
		if (bound(r, row, USER_MAX_DIMENSION + i, &bounds[i]) != ERR_OK)
			return ERR_INVALID;
	out->max_dimension = bounds[0];
	out->max_dpr = bounds[USER_MAX_DPR - USER_MAX_DIMENSION];
	out->max_zoom = bounds[USER_MAX_ZOOM - USER_MAX_DIMENSION];
	out->max_blur = bounds[USER_MAX_BLUR - USER_MAX_DIMENSION];
	out->max_quality = bounds[USER_MAX_QUALITY - USER_MAX_DIMENSION];
	if (pg_result_null(r, row, USER_REQUIRE_EXPIRES))
		return ERR_OK;
	if (pg_result_bool(r, row, USER_REQUIRE_EXPIRES, &expires) != ERR_OK)
		return ERR_INVALID;
	out->image_flags = expires ? USER_IMAGE_REQUIRE_EXPIRES : USER_IMAGE_NO_EXPIRES_REQUIRED;
	return ERR_OK;
}

static enum err read_limits(const struct pg_result *r, size_t row, struct policy_user *out)
{
	static const uint8_t shadow[][2] = {
		{ USER_MINUTE_IN_SHADOW, USER_SHADOW_MINUTE },
		{ USER_HOUR_IN_SHADOW, USER_SHADOW_HOUR },
		{ USER_REQUESTS_IN_SHADOW, USER_SHADOW_REQUESTS },
		{ USER_BANDWIDTH_IN_SHADOW, USER_SHADOW_BANDWIDTH },
	};
	uint64_t minute;
	uint64_t hour;
	uint64_t burst;
	uint64_t requests;
	uint64_t mb;
	uint64_t storage_mb;
	uint64_t day;

	if (number(r, row, USER_PER_MINUTE, POLICY_DEFAULT, &minute) != ERR_OK ||
	    number(r, row, USER_PER_HOUR, POLICY_DEFAULT, &hour) != ERR_OK ||
	    number(r, row, USER_BURST, 0, &burst) != ERR_OK ||
	    number(r, row, USER_MONTH_REQUESTS, POLICY_DEFAULT, &requests) != ERR_OK ||
	    number(r, row, USER_MONTH_MB, POLICY_DEFAULT, &mb) != ERR_OK ||
	    number(r, row, USER_STORAGE_MB, POLICY_DEFAULT, &storage_mb) != ERR_OK ||
	    number(r, row, USER_RESET_DAY, 0, &day) != ERR_OK || day > 31)
		return ERR_INVALID;
	for (size_t i = 0; i < sizeof(shadow) / sizeof(shadow[0]); i++)
		if (flag(r, row, shadow[i][0], shadow[i][1], &out->flags) != ERR_OK)
			return ERR_INVALID;
	out->reset_day = (uint8_t)day;
	out->per_minute = minute;
	out->per_hour = hour;
	out->burst = burst;
	out->month_requests = requests;
	out->month_bytes = mb_bytes(mb);
	out->storage_bytes = mb_bytes(storage_mb);
	return ERR_OK;
}

enum err policy_rows_user(const struct pg_result *r, size_t row, uint64_t *id, struct policy_user_row *out)
{
	struct policy_user user = { .version = POLICY_LAYOUT };
	struct sv sources = pg_result_value(r, row, USER_SOURCES);
	struct sv presets = pg_result_value(r, row, USER_PRESETS);
	size_t blocks, sources_bytes, presets_bytes, bytes = 0;
	bool active;

	if (pg_result_u64(r, row, USER_ID, id) != ERR_OK || pg_result_bool(r, row, USER_IS_ACTIVE, &active) != ERR_OK ||
	    read_limits(r, row, &user) != ERR_OK || read_images(r, row, &user) != ERR_OK ||
	    read_allow(pg_result_value(r, row, USER_ALLOW), out, &blocks) != ERR_OK ||
	    list_size(sources, ' ', POLICY_SOURCES_MAX, POLICY_SOURCE_MAX, &sources_bytes) != ERR_OK ||
	    list_size(presets, ',', POLICY_PRESETS_MAX, POLICY_PRESET_MAX, &presets_bytes) != ERR_OK)
		return ERR_INVALID;
	user.flags |= active ? USER_ACTIVE : 0;
	out->user = grow(out->user, &out->room,
	                 sizeof(user) + (blocks > 0 ? cidr_set_size(blocks) : 0) + sources_bytes + presets_bytes, 1);
	if (blocks > 0)
		cidr_set_build(out->blocks, blocks, out->user->lists, &bytes);
	if (bytes > UINT32_MAX)
		return ERR_INVALID;
	user.allow_bytes = (uint32_t)bytes;
	user.sources_bytes = (uint32_t)sources_bytes;
	user.presets_bytes = (uint32_t)presets_bytes;
	memcpy(out->user, &user, sizeof(user));
	uint8_t *end = encode_list(sources, ' ', out->user->lists + bytes);
	end = encode_list(presets, ',', end);
	out->size = (size_t)(end - (uint8_t *)out->user);
	CHECK(policy_user_whole(out->user, out->size));
	return ERR_OK;
}

void policy_rows_free(struct policy_user_row *row)
{
	free(row->user);
	free(row->blocks);
	*row = (struct policy_user_row){ .user = NULL };
}

enum err policy_rows_key(const struct pg_result *r, size_t row, uint64_t *id, union policy_key_row *out, size_t *size)
{
	uint64_t user_id;
	uint32_t scopes = 0;
	int64_t expires_at = 0;
	bool active;
	struct policy_key *key = &out->key;

	if (pg_result_u64(r, row, KEY_ID, id) != ERR_OK || pg_result_u64(r, row, KEY_USER_ID, &user_id) != ERR_OK ||
	    pg_result_bool(r, row, KEY_IS_ACTIVE, &active) != ERR_OK)
		return ERR_INVALID;
	if (!pg_result_null(r, row, KEY_EXPIRES_AT) && pg_result_i64(r, row, KEY_EXPIRES_AT, &expires_at) != ERR_OK)
		return ERR_INVALID;
	memset(out, 0, sizeof(*out));
	key->version = POLICY_LAYOUT;
	key->user_id = user_id;
	/* 0 stands for "never" in the record; a key that expired in 1970 is one that expired. */
	key->expires_at = !pg_result_null(r, row, KEY_EXPIRES_AT) && expires_at <= 0 ? 1 : expires_at;
	if (active)
		key->flags |= KEY_ACTIVE;
	if (key_hash_from_hex(pg_result_value(r, row, KEY_HASH), key->hash) == ERR_OK &&
	    scopes_parse(pg_result_value(r, row, KEY_SCOPES), &scopes) == ERR_OK)
		key->flags |= KEY_USABLE;
	key->scopes = (uint16_t)scopes;
	if (hex_decode(pg_result_value(r, row, KEY_SIGNING), key->signing, SEALED_SIZE) == ERR_OK)
		key->signing_bytes = SEALED_SIZE;
	*size = sizeof(*key) + key->signing_bytes;
	return ERR_OK;
}

void policy_rows_log_bad(enum policy_table table, const struct pg_result *r, size_t row)
{
	log_error("policy: a row of %s cannot be used and is left out: id=%.*s",
	          table == POLICY_USERS ? "users" : "api_keys", SV_ARG(pg_result_value(r, row, 0)));
}
