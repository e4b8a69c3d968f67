#include "store/admin_policy_sql.h"

/* The rows are a table x, and u is the user that a row names. */

/* User and keys in one statement: the keys are those of the users that were there until then. */
static const char user_remove_sql[] = "WITH gone AS (UPDATE users u SET deleted_at = now(), is_active = false "
                                      "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text) "
                                      "WHERE u.username = x.\"user\" AND u.deleted_at IS NULL RETURNING u.id) "
                                      "UPDATE api_keys k SET revoked_at = now(), is_active = false FROM gone "
                                      "WHERE k.user_id = gone.id AND k.revoked_at IS NULL";

static const char user_set_sql[] =
        "UPDATE users u SET email = x.email, is_active = NOT x.disabled "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, email text, disabled boolean) "
        "WHERE u.username = x.\"user\" AND u.deleted_at IS NULL";

static const char user_add_sql[] =
        "INSERT INTO users (username, email, is_active) SELECT x.\"user\", x.email, NOT x.disabled "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, email text, disabled boolean) "
        "ORDER BY 1";

static const char limit_sql[] =
        "INSERT INTO rate_limits "
        "(user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour) "
        "SELECT u.id, nullif(x.requests_per_minute, 'default')::bigint, "
        "nullif(x.requests_per_hour, 'default')::bigint, nullif(x.burst, 'default')::bigint, "
        "'minute' = ANY(string_to_array(x.shadow, ',')), 'hour' = ANY(string_to_array(x.shadow, ',')) "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, requests_per_minute text, "
        "requests_per_hour text, burst text, shadow text) "
        "JOIN users u ON u.username = x.\"user\" AND u.deleted_at IS NULL "
        "ORDER BY u.id ON CONFLICT (user_id) DO UPDATE SET "
        "requests_per_minute = excluded.requests_per_minute, requests_per_hour = excluded.requests_per_hour, "
        "burst = excluded.burst, shadow_minute = excluded.shadow_minute, shadow_hour = excluded.shadow_hour";

static const char quota_sql[] =
        "INSERT INTO quotas "
        "(user_id, monthly_requests, monthly_bandwidth_mb, storage_mb, reset_day, shadow_requests, shadow_bandwidth) "
        "SELECT u.id, nullif(x.monthly_requests, 'default')::bigint, "
        "nullif(x.monthly_bandwidth_mb, 'default')::bigint, nullif(x.storage_mb, 'default')::bigint, "
        "nullif(x.reset_day, 'default')::smallint, "
        "'requests' = ANY(string_to_array(x.shadow, ',')), 'bandwidth' = ANY(string_to_array(x.shadow, ',')) "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, monthly_requests text, "
        "monthly_bandwidth_mb text, storage_mb text, reset_day text, shadow text) "
        "JOIN users u ON u.username = x.\"user\" AND u.deleted_at IS NULL "
        "ORDER BY u.id ON CONFLICT (user_id) DO UPDATE SET "
        "monthly_requests = excluded.monthly_requests, monthly_bandwidth_mb = excluded.monthly_bandwidth_mb, "
        "storage_mb = excluded.storage_mb, reset_day = excluded.reset_day, "
        "shadow_requests = excluded.shadow_requests, shadow_bandwidth = excluded.shadow_bandwidth";

static const char image_sql[] =
        "INSERT INTO image_policies "
        "(user_id, max_dimension, max_dpr, max_zoom, max_blur, max_quality, require_expires, presets) "
        "SELECT u.id, nullif(x.max_dimension, 'default')::integer, nullif(x.max_dpr, 'default')::numeric, "
        "nullif(x.max_zoom, 'default')::numeric, nullif(x.max_blur, 'default')::numeric, "
        "nullif(x.max_quality, 'default')::smallint, nullif(x.require_expires, 'default')::boolean, "
        "string_to_array(nullif(x.presets, 'none'), ',') "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, max_dimension text, max_dpr text, "
        "max_zoom text, max_blur text, max_quality text, require_expires text, presets text) "
        "JOIN users u ON u.username = x.\"user\" AND u.deleted_at IS NULL "
        "ORDER BY u.id ON CONFLICT (user_id) DO UPDATE SET "
        "max_dimension = excluded.max_dimension, max_dpr = excluded.max_dpr, max_zoom = excluded.max_zoom, "
        "max_blur = excluded.max_blur, max_quality = excluded.max_quality, "
        "require_expires = excluded.require_expires, presets = excluded.presets";

static const char allow_remove_sql[] =
        "DELETE FROM ip_whitelist w USING jsonb_to_recordset($1::jsonb) AS x(id bigint) WHERE w.id = x.id";

static const char allow_set_sql[] = "UPDATE ip_whitelist w SET description = nullif(x.description, '') "
                                    "FROM jsonb_to_recordset($1::jsonb) AS x(id bigint, description text) "
                                    "WHERE w.id = x.id";

static const char allow_add_sql[] =
        "INSERT INTO ip_whitelist (user_id, ip_cidr, description) "
        "SELECT u.id, x.entry::cidr, nullif(x.description, '') "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, entry text, description text) "
        "JOIN users u ON u.username = x.\"user\" AND u.deleted_at IS NULL "
        "ORDER BY 1, 2";

static const char source_remove_sql[] =
        "DELETE FROM allowed_sources s USING jsonb_to_recordset($1::jsonb) AS x(id bigint) WHERE s.id = x.id";

static const char source_set_sql[] = "UPDATE allowed_sources s SET description = nullif(x.description, '') "
                                     "FROM jsonb_to_recordset($1::jsonb) AS x(id bigint, description text) "
                                     "WHERE s.id = x.id";

static const char source_add_sql[] =
        "INSERT INTO allowed_sources (user_id, prefix, description) "
        "SELECT u.id, x.entry, nullif(x.description, '') "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, entry text, description text) "
        "JOIN users u ON u.username = x.\"user\" AND u.deleted_at IS NULL "
        "ORDER BY 1, 2";

static const char key_remove_sql[] = "UPDATE api_keys k SET is_active = false, revoked_at = now() "
                                     "FROM jsonb_to_recordset($1::jsonb) AS x(id bigint) "
                                     "WHERE k.id = x.id AND k.revoked_at IS NULL";

/* What is null stays; a time that stays keeps its fraction of a second too. */
static const char key_set_sql[] =
        "UPDATE api_keys k SET name = coalesce(x.name, k.name), "
        "scopes = coalesce(string_to_array(x.scopes, ','), k.scopes), "
        "is_active = coalesce(NOT x.disabled, k.is_active), "
        "expires_at = CASE WHEN x.expires IS NULL THEN k.expires_at "
        "ELSE nullif(x.expires, '" ADMIN_KEY_NEVER "')::timestamptz END "
        "FROM jsonb_to_recordset($1::jsonb) AS x(id bigint, name text, scopes text, expires text, disabled boolean) "
        "WHERE k.id = x.id";

static const char key_add_sql[] =
        "INSERT INTO api_keys (id, user_id, key_hash, name, scopes, expires_at, is_active, signing) "
        "SELECT x.id, u.id, x.hash, x.name, string_to_array(x.scopes, ','), "
        "nullif(x.expires, '" ADMIN_KEY_NEVER "')::timestamptz, NOT x.disabled, x.sealed::bytea "
        "FROM jsonb_to_recordset($1::jsonb) AS x(\"user\" text, id bigint, hash text, name text, "
        "scopes text, expires text, disabled boolean, sealed text) "
        "JOIN users u ON u.username = x.\"user\" AND u.deleted_at IS NULL "
        "ORDER BY 1";

static const char backend_remove_sql[] =
        "DELETE FROM backends b USING jsonb_to_recordset($1::jsonb) AS x(name text) WHERE b.name = x.name";

static const char backend_set_sql[] =
        "UPDATE backends b SET url = coalesce(x.url, b.url), weight = coalesce(x.weight::integer, b.weight) "
        "FROM jsonb_to_recordset($1::jsonb) AS x(name text, url text, weight text) "
        "WHERE b.name = x.name";

static const char backend_add_sql[] =
        "INSERT INTO backends (name, url, weight) SELECT x.name, x.url, x.weight::integer "
        "FROM jsonb_to_recordset($1::jsonb) AS x(name text, url text, weight text) "
        "ORDER BY 1";

/* One statement each, so that a thousand rows are told to the agents in ten notifications. */
const char *const admin_policy_rows_sql[ROWS] = {
	[ROWS_USER_REMOVE] = user_remove_sql,
	[ROWS_USER_SET] = user_set_sql,
	[ROWS_USER_ADD] = user_add_sql,
	[ROWS_LIMIT] = limit_sql,
	[ROWS_QUOTA] = quota_sql,
	[ROWS_IMAGE] = image_sql,
	[ROWS_ALLOW_REMOVE] = allow_remove_sql,
	[ROWS_ALLOW_SET] = allow_set_sql,
	[ROWS_ALLOW_ADD] = allow_add_sql,
	[ROWS_SOURCE_REMOVE] = source_remove_sql,
	[ROWS_SOURCE_SET] = source_set_sql,
	[ROWS_SOURCE_ADD] = source_add_sql,
	[ROWS_KEY_REMOVE] = key_remove_sql,
	[ROWS_KEY_SET] = key_set_sql,
	[ROWS_KEY_ADD] = key_add_sql,
	[ROWS_BACKEND_REMOVE] = backend_remove_sql,
	[ROWS_BACKEND_SET] = backend_set_sql,
	[ROWS_BACKEND_ADD] = backend_add_sql,
};
