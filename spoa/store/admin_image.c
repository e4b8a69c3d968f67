#include "store/admin_image.h"

#include <string.h>

#include "store/admin_row.h"
#include "store/admin_user.h"

/* Of u (the user) and t (their row of the table, which may be missing). */
#define IMAGE_COLUMNS                                                                                            \
	"u.id, u.username, t.max_dimension, (t.max_dpr * 1000)::bigint, (t.max_zoom * 1000)::bigint, "           \
	"(t.max_blur * 1000)::bigint, t.max_quality, t.require_expires::int, nullif(array_to_string(t.presets, " \
	"','), '')"

static const char find_sql[] = "SELECT " IMAGE_COLUMNS " FROM users u LEFT JOIN image_policies t ON t.user_id = u.id "
                               "WHERE u.id = $1 AND u.deleted_at IS NULL";

static const char set_sql[] = ADMIN_LIVING_USER
        "n AS (SELECT u.id, $3::integer AS dimension, $5::numeric / 1000 AS dpr, $7::numeric / 1000 AS zoom, "
        "$9::numeric / 1000 AS blur, $11::smallint AS quality, $13::integer::boolean AS expires, "
        "string_to_array($15::text, ',') AS presets FROM u), "
        "t AS (INSERT INTO image_policies AS t "
        "(user_id, max_dimension, max_dpr, max_zoom, max_blur, max_quality, require_expires, presets) "
        "SELECT * FROM n "
        "ON CONFLICT (user_id) DO UPDATE SET "
        "max_dimension = CASE WHEN $2::boolean THEN excluded.max_dimension ELSE t.max_dimension END, "
        "max_dpr = CASE WHEN $4::boolean THEN excluded.max_dpr ELSE t.max_dpr END, "
        "max_zoom = CASE WHEN $6::boolean THEN excluded.max_zoom ELSE t.max_zoom END, "
        "max_blur = CASE WHEN $8::boolean THEN excluded.max_blur ELSE t.max_blur END, "
        "max_quality = CASE WHEN $10::boolean THEN excluded.max_quality ELSE t.max_quality END, "
        "require_expires = CASE WHEN $12::boolean THEN excluded.require_expires ELSE t.require_expires END, "
        "presets = CASE WHEN $14::boolean THEN excluded.presets ELSE t.presets END RETURNING *) "
        "SELECT " IMAGE_COLUMNS " FROM t JOIN u ON u.id = t.user_id";

static enum err images_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_images *out, char *error)
{
	struct pg_result *r;

	memset(out, 0, sizeof(*out));
	enum err err = admin_one_row(db, user, sql, nparams, params, &r, error);
	if (err != ERR_OK)
		return err;
	out->rows = r;
	out->username = pg_result_value(r, 0, 1).p;
	admin_get_u64(r, 0, &out->user_id, &err);
	admin_get_number(r, 2, &out->max_dimension, &err);
	admin_get_number(r, 3, &out->max_dpr, &err);
	admin_get_number(r, 4, &out->max_zoom, &err);
	admin_get_number(r, 5, &out->max_blur, &err);
	admin_get_number(r, 6, &out->max_quality, &err);
	admin_get_number(r, 7, &out->require_expires, &err);
	out->presets = pg_result_value(r, 0, 8).p;
	if (err == ERR_OK)
		return ERR_OK;
	admin_images_free(out);
	return admin_fail(error, err, "database: unexpected value in table image_policies");
}

void admin_images_free(struct admin_images *i)
{
	pg_result_free(i->rows);
	memset(i, 0, sizeof(*i));
}

enum err admin_images_find(struct pg_sync *db, const char *user, struct admin_images *out, char *error)
{
	const char *params[1] = { NULL };

	return images_query(db, user, find_sql, 1, params, out, error);
}

enum err admin_images_set(struct pg_sync *db, const char *user, const struct admin_images_wish *wish,
                          struct admin_images *out, char *error)
{
	char numbers[6][ADMIN_NUMBER_MAX];
	const char *params[15] = { NULL };

	admin_put_change(&wish->max_dimension, numbers[0], params + 1);
	admin_put_change(&wish->max_dpr, numbers[1], params + 3);
	admin_put_change(&wish->max_zoom, numbers[2], params + 5);
	admin_put_change(&wish->max_blur, numbers[3], params + 7);
	admin_put_change(&wish->max_quality, numbers[4], params + 9);
	admin_put_change(&wish->require_expires, numbers[5], params + 11);
	params[13] = wish->presets_given ? "true" : "false";
	params[14] = wish->presets_given ? wish->presets : NULL;
	return images_query(db, user, set_sql, 15, params, out, error);
}
