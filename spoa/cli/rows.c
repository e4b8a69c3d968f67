#include "cli/rows.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "cli/output.h"

#define ID_MAX 24

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

const char *rows_percent_text(uint64_t used, uint64_t limit, char buf[ROWS_TEXT_MAX])
{
	if (limit == 0)
		return NULL;
	snprintf(buf, ROWS_TEXT_MAX, "%" PRId64 " %%", percent(used, limit));
	return buf;
}
