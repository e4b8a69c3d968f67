#include "cli/rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "cli/output.h"

#define ID_MAX 24

json_t *rows_user_json(const struct admin_user *u)
{
	json_t *v = json_pack("{s:I, s:o, s:o, s:b, s:o, s:o}", "id", (json_int_t)u->id, "username",
	                      output_text(u->username), "email", output_text(u->email), "is_active", (int)u->is_active,
	                      "created_at", output_text(u->created_at), "updated_at", output_text(u->updated_at));

	CHECK(v != NULL);
	if (u->deleted_at != NULL)
		json_object_set_new(v, "deleted_at", output_text(u->deleted_at));
	return v;
}

void rows_user_table(FILE *f, const struct admin_users *list)
{
	static const char *const heads[] = { "ID", "USERNAME", "EMAIL", "ACTIVE", "CREATED" };
	enum { COLUMNS = sizeof(heads) / sizeof(heads[0]) };
	const char **cells = check_calloc(list->count + 1, sizeof(char *) * COLUMNS);
	char(*ids)[ID_MAX] = check_calloc(list->count + 1, sizeof(*ids));

	for (size_t i = 0; i < list->count; i++) {
		const struct admin_user *u = &list->items[i];
		const char **row = cells + i * COLUMNS;
		snprintf(ids[i], ID_MAX, "%" PRIu64, u->id);
		row[0] = ids[i];
		row[1] = u->username;
		row[2] = u->email;
		row[3] = u->is_active ? "yes" : "no";
		row[4] = u->created_at;
	}
	output_table(f, COLUMNS, heads, cells, list->count);
	free(ids);
	free(cells);
}

static json_t *scopes_json(const char *list)
{
	json_t *v = json_array();
	struct sv rest = sv_str(list), part;

	while (rest.n > 0 && sv_split(&rest, ',', &part))
		json_array_append_new(v, json_stringn(part.p, part.n));
	return v;
}

json_t *rows_key_json(const struct admin_key *k)
{
	json_t *v = json_pack("{s:I, s:o, s:I, s:o, s:o, s:s, s:o, s:b, s:b, s:o, s:o, s:o, s:o}", "id",
	                      (json_int_t)k->id, "user", output_text(k->username), "user_id", (json_int_t)k->user_id,
	                      "name", output_text(k->name), "scopes", scopes_json(k->scopes), "state", k->state,
	                      "replaced_by",
	                      k->replaced_by != 0 ? json_integer((json_int_t)k->replaced_by) : json_null(), "is_active",
	                      (int)k->is_active, "signing", (int)k->signing, "created_at", output_text(k->created_at),
	                      "last_used_at", output_text(k->last_used_at), "expires_at", output_text(k->expires_at),
	                      "revoked_at", output_text(k->revoked_at));

	CHECK(v != NULL);
	return v;
}

json_t *rows_keys_json(const struct admin_keys *list)
{
	json_t *v = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(v, rows_key_json(&list->items[i]));
	return v;
}

void rows_key_table(FILE *f, const struct admin_keys *list)
{
	static const char *const heads[] = { "ID",      "USER",    "NAME",      "SCOPES", "STATE",
		                             "SIGNING", "CREATED", "LAST USED", "EXPIRES" };
	enum { COLUMNS = sizeof(heads) / sizeof(heads[0]) };
	const char **cells = check_calloc(list->count + 1, sizeof(char *) * COLUMNS);
	char(*ids)[ID_MAX] = check_calloc(list->count + 1, sizeof(*ids));

	for (size_t i = 0; i < list->count; i++) {
		const struct admin_key *k = &list->items[i];
		const char **row = cells + i * COLUMNS;
		snprintf(ids[i], ID_MAX, "%" PRIu64, k->id);
		row[0] = ids[i];
		row[1] = k->username;
		row[2] = k->name;
		row[3] = k->scopes;
		row[4] = k->state;
		row[5] = k->signing ? "yes" : "no";
		row[6] = k->created_at;
		row[7] = k->last_used_at;
		row[8] = k->expires_at;
	}
	output_table(f, COLUMNS, heads, cells, list->count);
	free(ids);
	free(cells);
}

uint64_t rows_effective(const struct admin_number *n, int64_t setting)
{
	return n->own ? n->value : (uint64_t)setting;
}

const char *rows_limit(uint64_t limit, char buf[ROWS_TEXT_MAX])
{
	if (limit == 0)
		return "none";
	snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64, limit);
	return buf;
}

const char *rows_from(const struct admin_number *n, const char *otherwise)
{
	return n->own ? "user" : otherwise;
}

/* Whole ones, rounded down. */
static int64_t percent(uint64_t used, uint64_t limit)
{
	if (used > INT64_MAX / 100)
		used = INT64_MAX / 100;
	return (int64_t)(used * 100 / limit);
}

json_t *rows_percent_json(uint64_t used, uint64_t limit)
{
	return limit != 0 ? json_integer(percent(used, limit)) : json_null();
}

const char *rows_percent_text(uint64_t used, uint64_t limit, char buf[ROWS_TEXT_MAX])
{
	if (limit == 0)
		return NULL;
	snprintf(buf, ROWS_TEXT_MAX, "%" PRId64 " %%", percent(used, limit));
	return buf;
}

const char *rows_time(int64_t seconds, char buf[ROWS_TEXT_MAX])
{
	time_t t = seconds;
	struct tm tm;

	CHECK(gmtime_r(&t, &tm) != NULL && strftime(buf, ROWS_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
	return buf;
}

json_t *rows_names_json(const char *const *names, size_t count, unsigned set)
{
	json_t *v = json_array();

	for (size_t i = 0; i < count; i++)
		if ((set & 1u << i) != 0)
			json_array_append_new(v, json_string(names[i]));
	return v;
}
