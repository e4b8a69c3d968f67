#include "store/admin_usage.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/admin_user.h"

#define SUMS                                                                                                \
	"'requests', sum(requests), 'admitted', coalesce(sum(requests) FILTER (WHERE code = 'allow'), 0), " \
	"'request_bytes', sum(request_bytes), 'response_bytes', sum(response_bytes), 'billed_bytes', "      \
	"sum(billed_bytes)"

static const char month_sql[] =
        "WITH m AS (SELECT * FROM usage_monthly WHERE user_id = $1 AND month >= ($2 || '-01')::date "
        "AND month < ($2 || '-01')::date + interval '1 month') "
        "SELECT json_build_object("
        "'requests', coalesce(sum(requests), 0), "
        "'admitted', coalesce(sum(requests) FILTER (WHERE code = 'allow'), 0), "
        "'images', coalesce(sum(requests) FILTER (WHERE code = 'allow' AND kind = 'image'), 0), "
        "'uploads', coalesce(sum(requests) FILTER (WHERE code = 'allow' AND kind = 'upload'), 0), "
        "'request_bytes', coalesce(sum(request_bytes), 0), 'response_bytes', coalesce(sum(response_bytes), 0), "
        "'billed_bytes', coalesce(sum(billed_bytes), 0), 'active_ms', coalesce(sum(active_ms), 0), "
        "'refused', coalesce((SELECT json_object_agg(code, n ORDER BY code) FROM "
        "(SELECT code, sum(requests) AS n FROM m WHERE code <> 'allow' GROUP BY code) AS c), '{}'), "
        "'keys', coalesce((SELECT json_agg(v ORDER BY api_key_id) FROM (SELECT api_key_id, json_build_object("
        "'key_id', nullif(api_key_id, 0), 'name', (SELECT name FROM api_keys k WHERE k.id = api_key_id), " SUMS
        ") AS v "
        "FROM m GROUP BY api_key_id) AS k), '[]'), "
        "'backends', coalesce((SELECT json_agg(v ORDER BY backend) FROM (SELECT backend, json_build_object("
        "'backend', nullif(backend, ''), " SUMS ") AS v FROM m GROUP BY backend) AS b), '[]'))::text FROM m";

enum err admin_usage_month(struct pg_sync *db, uint64_t user_id, const char *month, const char **json,
                           struct pg_result **rows, char *error)
{
	char id[ADMIN_ID_MAX];
	const char *params[] = { id, month };

	snprintf(id, sizeof(id), "%" PRIu64, user_id);
	enum err err = pg_sync_exec(db, month_sql, 2, params, rows);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	*json = pg_result_value(*rows, 0, 0).p;
	return ERR_OK;
}
