#include <string.h>

#include "base/check.h"
#include "policy/scope.h"
#include "store/admin_allow.h"
#include "store/admin_policy.h"

/* Of u (a user): living, and one of the names of $1 when there are any. */
#define CHOSEN  "u.deleted_at IS NULL AND ($1::text[] IS NULL OR u.username = ANY($1::text[]))"
#define BY_USER "ORDER BY u.username COLLATE \"C\""

/* The columns behind the name are the fields, in their order and as their canonical texts. */
static const char users_sql[] =
        "SELECT u.username, u.email, (NOT u.is_active)::text, "
        "coalesce(l.requests_per_minute::text, 'default'), coalesce(l.requests_per_hour::text, 'default'), "
        "coalesce(l.burst::text, 'default'), coalesce(nullif(concat_ws(',', "
        "CASE WHEN l.shadow_minute THEN 'minute' END, CASE WHEN l.shadow_hour THEN 'hour' END), ''), 'none'), "
        "coalesce(q.monthly_requests::text, 'default'), coalesce(q.monthly_bandwidth_mb::text, 'default'), "
        "coalesce(q.storage_mb::text, 'default'), coalesce(q.reset_day::text, 'default'), "
        "coalesce(nullif(concat_ws(',', CASE WHEN q.shadow_requests THEN 'requests' END, "
        "CASE WHEN q.shadow_bandwidth THEN 'bandwidth' END), ''), 'none'), "
        "coalesce(i.max_dimension::text, 'default'), coalesce(trim_scale(i.max_dpr)::text, 'default'), "
        "coalesce(trim_scale(i.max_zoom)::text, 'default'), coalesce(trim_scale(i.max_blur)::text, 'default'), "
        "coalesce(i.max_quality::text, 'default'), coalesce(i.require_expires::text, 'default'), "
        "coalesce(nullif((SELECT string_agg(DISTINCT p COLLATE \"C\", ',' ORDER BY p COLLATE \"C\") "
        "FROM unnest(i.presets) AS p), ''), 'none') "
        "FROM users u LEFT JOIN rate_limits l ON l.user_id = u.id LEFT JOIN quotas q ON q.user_id = u.id "
        "LEFT JOIN image_policies i ON i.user_id = u.id WHERE " CHOSEN " " BY_USER;

static const char allow_sql[] = "SELECT u.username, w.id, w.ip_cidr::text, coalesce(w.description, '') "
                                "FROM ip_whitelist w JOIN users u ON u.id = w.user_id WHERE " CHOSEN " " BY_USER;

static const char sources_sql[] = "SELECT u.username, s.id, s.prefix, coalesce(s.description, '') "
                                  "FROM allowed_sources s JOIN users u ON u.id = s.user_id WHERE " CHOSEN " " BY_USER;

/* What behind the id stands are the fields of keys, in their order. */
#define EXPIRES ADMIN_UTC("k.expires_at")
static const char keys_sql[] =
        "SELECT u.username, k.id, k.name, array_to_string(k.scopes, ','), "
        "coalesce(" EXPIRES ", '" ADMIN_KEY_NEVER "'), "
        "(NOT k.is_active)::text, (k.signing IS NOT NULL)::text, (k.replaced_by IS NOT NULL)::text "
        "FROM api_keys k JOIN users u ON u.id = k.user_id "
        "WHERE k.revoked_at IS NULL AND " CHOSEN " " BY_USER;

/* These have no use for the names, but all are called alike. */
static const char backends_sql[] =
        "SELECT name, url, weight::text FROM backends WHERE $1::text[] IS NULL OR true ORDER BY name COLLATE \"C\"";

static const char now_sql[] = "SELECT " ADMIN_UTC("now()") " WHERE $1::text[] IS NULL OR true";

struct loading {
	struct admin_policy *p;
	const struct pg_result *rows;
	enum err err;
};

static const char *text_at(struct loading *l, size_t row, size_t col)
{
	if (pg_result_null(l->rows, row, col))
		return NULL;
	return admin_policy_text(&l->p->texts, pg_result_value(l->rows, row, col));
}

static uint64_t id_at(struct loading *l, size_t row)
{
	uint64_t id = 0;

	if (l->err == ERR_OK)
		l->err = pg_result_u64(l->rows, row, 1, &id);
	return id;
}

static void take_users(struct loading *l)
{
	for (size_t i = 0; i < pg_result_rows(l->rows); i++) {
		struct admin_policy_user *u = admin_policy_add_user(l->p);
		u->name = text_at(l, i, 0);
		u->allow.given = u->sources.given = u->keys.given = true;
		for (size_t f = 0; f < FIELDS; f++)
			u->values[f] = text_at(l, i, f + 1);
	}
}

/* The user of the row, at *at or behind it: both are sorted. NULL: one that was made since the users were read. */
static struct admin_policy_user *user_of(struct loading *l, size_t row, size_t *at)
{
	const char *name = pg_result_value(l->rows, row, 0).p;

	while (*at < l->p->users_count && strcmp(l->p->users[*at].name, name) < 0)
		++*at;
	if (*at == l->p->users_count || strcmp(l->p->users[*at].name, name) != 0)
		return NULL;
	return &l->p->users[*at];
}

static void take_entry(struct loading *l, size_t row, struct admin_policy_list *list)
{
	struct admin_policy_entry *e = admin_policy_add_entry(list);

	e->id = id_at(l, row);
	e->text = text_at(l, row, 2);
	e->description = text_at(l, row, 3);
}

static void take_allows(struct loading *l)
{
	char block[ADMIN_BLOCK_MAX], error[ADMIN_ERROR_MAX];
	size_t at = 0;

	for (size_t i = 0; i < pg_result_rows(l->rows); i++) {
		struct admin_policy_user *u = user_of(l, i, &at);
		if (u == NULL)
			continue;
		take_entry(l, i, &u->allow);
		/* PostgreSQL writes some addresses of IPv6 otherwise. */
		struct admin_policy_entry *e = &u->allow.items[u->allow.count - 1];
		if (admin_allow_block(e->text, block, error) == ERR_OK)
			e->text = admin_policy_text(&l->p->texts, sv_str(block));
	}
}

static void take_sources(struct loading *l)
{
	size_t at = 0;

	for (size_t i = 0; i < pg_result_rows(l->rows); i++) {
		struct admin_policy_user *u = user_of(l, i, &at);
		if (u != NULL)
			take_entry(l, i, &u->sources);
	}
}

static void take_keys(struct loading *l)
{
	char scopes[SCOPES_TEXT_MAX];
	uint32_t set = 0;
	size_t at = 0;

	for (size_t i = 0; i < pg_result_rows(l->rows); i++) {
		struct admin_policy_user *u = user_of(l, i, &at);
		if (u == NULL)
			continue;
		struct admin_policy_key *k = admin_policy_add_key(&u->keys);
		k->id = id_at(l, i);
		for (size_t f = 0; f < KEY_FIELDS; f++)
			k->values[f] = text_at(l, i, f + 2);
		if (scopes_parse(sv_str(k->values[KEY_SCOPES]), &set) == ERR_OK)
			k->values[KEY_SCOPES] = admin_policy_text(&l->p->texts,
			                                          sv_str(scopes_format(set, scopes, sizeof(scopes))));
		k->rotated = sv_eq(pg_result_value(l->rows, i, KEY_FIELDS + 2), SV("true"));
	}
}

static void take_backends(struct loading *l)
{
	for (size_t i = 0; i < pg_result_rows(l->rows); i++) {
		struct admin_policy_backend *b = admin_policy_add_backend(l->p);
		b->name = text_at(l, i, 0);
		b->url = text_at(l, i, 1);
		b->weight = text_at(l, i, 2);
	}
}

static void take_now(struct loading *l)
{
	l->err = pg_result_rows(l->rows) == 1 ? sv_copy(pg_result_value(l->rows, 0, 0), l->p->now, sizeof(l->p->now))
	                                      : ERR_INVALID;
}

static enum err load(struct pg_sync *db, const char *sql, const char *names, void (*take)(struct loading *l),
                     struct admin_policy *p, char *error)
{
	struct loading l = { .p = p };
	struct pg_result *rows;

	enum err err = pg_sync_exec(db, sql, 1, &names, &rows);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	l.rows = rows;
	take(&l);
	pg_result_free(rows);
	return l.err == ERR_OK ? ERR_OK : admin_fail(error, l.err, "database: unexpected value in the policy");
}

enum err admin_policy_load(struct pg_sync *db, const char *names, struct admin_policy *out, char *error)
{
	static const struct {
		const char *sql;
		void (*take)(struct loading *l);
	} parts[] = { { now_sql, take_now },         { users_sql, take_users }, { allow_sql, take_allows },
		      { sources_sql, take_sources }, { keys_sql, take_keys },   { backends_sql, take_backends } };
	enum err err = ERR_OK;

	memset(out, 0, sizeof(*out));
	out->users_given = out->backends_given = true;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && err == ERR_OK; i++)
		err = load(db, parts[i].sql, names, parts[i].take, out, error);
	if (err == ERR_OK)
		admin_policy_sort(out);
	else
		admin_policy_free(out);
	return err;
}
