/* The statements of quota_sync.c. */
#pragma once

/*
 * A row and an addition may be of different months. The addition's is over: it counts only in a row that still stands
 * in it. The row's is over, or the addition's ends a whole month later (the host's clock is a little ahead): the row
 * begins anew. Else the reset day was moved, and the row counts on.
 */
#define MONTH_OVER "EXCLUDED.reset_at <= now() AND q.reset_at <> EXCLUDED.reset_at"
#define MONTH_NEW                                                                   \
	"q.reset_at < EXCLUDED.reset_at AND (q.reset_at <= now() OR q.reset_at <= " \
	"EXCLUDED.reset_at - interval '672 hours')"
#define SQL_KEPT(column) column " = CASE WHEN NOT (" MONTH_OVER ") AND " MONTH_NEW " THEN 0 ELSE q." column " END, "
#define SQL_ADD                                                                                                     \
	"WITH mine AS (INSERT INTO quota_flushes AS f (host, number) VALUES ($1, $2) ON CONFLICT (host) DO UPDATE " \
	"SET number = EXCLUDED.number, updated_at = now() WHERE f.number < EXCLUDED.number RETURNING 1), "          \
	"d AS (SELECT * FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS d (user_id, n, ends)) "            \
	"INSERT INTO quotas AS q (user_id, monthly_requests, monthly_bandwidth_mb, current_requests, reset_at) "    \
	"SELECT d.user_id, NULL, NULL, d.n, to_timestamp(d.ends) FROM d WHERE EXISTS (SELECT FROM mine) "           \
	"AND EXISTS (SELECT FROM users u WHERE u.id = d.user_id) ORDER BY d.user_id "                               \
	"ON CONFLICT (user_id) DO UPDATE SET "                                                                      \
	"current_requests = CASE WHEN " MONTH_OVER " THEN q.current_requests WHEN " MONTH_NEW                       \
	" THEN EXCLUDED.current_requests ELSE q.current_requests + EXCLUDED.current_requests END, " SQL_KEPT(       \
	        "current_bandwidth_mb") SQL_KEPT("current_bandwidth_bytes") SQL_KEPT("warned_requests")             \
	        SQL_KEPT("warned_bandwidth") "reset_at = CASE WHEN " MONTH_OVER                                     \
	                                     " THEN q.reset_at ELSE EXCLUDED.reset_at END"

/* Which month a row is of is judged by this host's clock, as that of a request is. */
#define SQL_COLUMNS                                                                                        \
	"user_id, current_requests, current_bandwidth_bytes, extract(epoch FROM least(greatest(reset_at, " \
	"'2000-01-01'), "                                                                                  \
	"'2200-01-01'))::bigint"
#define SQL_LOOK "SELECT " SQL_COLUMNS " FROM quotas WHERE user_id = ANY ($1::bigint[])"
/* All rows that count, a piece at a time, and then those that were changed lately, by PostgreSQL's clock. */
#define PIECE_ROWS 2000
#define SQL_ALL                                                                                                    \
	"SELECT " SQL_COLUMNS " FROM quotas WHERE user_id > $1 AND reset_at > now() AND (current_requests > 0 OR " \
	"current_bandwidth_bytes > 0) "                                                                            \
	"ORDER BY user_id LIMIT 2000"
#define SQL_LATELY "SELECT " SQL_COLUMNS " FROM quotas WHERE updated_at >= now() - interval '20 seconds'"
#define SQL_FORGET "DELETE FROM quota_flushes WHERE updated_at < now() - interval '2 days'"
#define SQL_WARN(kind, counter)                                                                                    \
	"UPDATE quotas q SET warned_" kind " = l.level FROM (SELECT p.user_id, CASE WHEN o.current_" counter       \
	" >= p.quota THEN 100 ELSE 80 END AS level FROM unnest($1::bigint[], $2::bigint[]) AS p (user_id, quota) " \
	"JOIN quotas o USING (user_id) WHERE p.quota > 0 AND o.current_" counter                                   \
	"::numeric * 100 >= p.quota::numeric * 80 AND o.reset_at > now()) AS l "                                   \
	"WHERE q.user_id = l.user_id AND q.warned_" kind " < l.level RETURNING q.user_id, q.warned_" kind
