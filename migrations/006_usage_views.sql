-- Usage as a person reads it, and what `gatewayctl reconcile` compares, mends and remembers (docs/reconcile.md).

-- ---- views ------------------------------------------------------------------------------------------------------------

-- Of the roll-ups alone, so that they cost little. A user who was deleted keeps their name here; MB are 2^20 bytes.
CREATE VIEW usage_by_user_month AS
SELECT m.month, m.user_id, u.username, m.requests, m.admitted, m.requests - m.admitted AS refused, m.images, m.uploads,
	m.request_bytes, m.response_bytes, m.billed_bytes, round(m.billed_bytes / 1048576.0, 2) AS billed_mb,
	u.deleted_at IS NOT NULL AS deleted
FROM (
	SELECT month, user_id, sum(requests)::bigint AS requests,
		coalesce(sum(requests) FILTER (WHERE code = 'allow'), 0)::bigint AS admitted,
		coalesce(sum(requests) FILTER (WHERE code = 'allow' AND kind = 'image'), 0)::bigint AS images,
		coalesce(sum(requests) FILTER (WHERE code = 'allow' AND kind = 'upload'), 0)::bigint AS uploads,
		sum(request_bytes)::bigint AS request_bytes, sum(response_bytes)::bigint AS response_bytes,
		sum(billed_bytes)::bigint AS billed_bytes
	FROM usage_monthly GROUP BY month, user_id
) AS m LEFT JOIN users u ON u.id = m.user_id;

-- Days of UTC.
CREATE VIEW usage_by_user_day AS
SELECT d.day, d.user_id, u.username, d.requests, d.admitted, d.requests - d.admitted AS refused, d.images, d.uploads,
	d.request_bytes, d.response_bytes, d.billed_bytes, round(d.billed_bytes / 1048576.0, 2) AS billed_mb,
	u.deleted_at IS NOT NULL AS deleted
FROM (
	SELECT (hour AT TIME ZONE 'UTC')::date AS day, user_id, sum(requests)::bigint AS requests,
		coalesce(sum(requests) FILTER (WHERE code = 'allow'), 0)::bigint AS admitted,
		coalesce(sum(requests) FILTER (WHERE code = 'allow' AND kind = 'image'), 0)::bigint AS images,
		coalesce(sum(requests) FILTER (WHERE code = 'allow' AND kind = 'upload'), 0)::bigint AS uploads,
		sum(request_bytes)::bigint AS request_bytes, sum(response_bytes)::bigint AS response_bytes,
		sum(billed_bytes)::bigint AS billed_bytes
	FROM usage_hourly GROUP BY 1, 2
) AS d LEFT JOIN users u ON u.id = d.user_id;

-- The running month of each user, most billed bytes first. share is in percent of all users' billed bytes; the quotas are
-- the user's own (NULL: what the settings say; 0: none).
CREATE VIEW top_users AS
SELECT rank() OVER (ORDER BY m.billed_bytes DESC) AS rank, m.user_id, m.username, m.month, m.requests, m.admitted,
	m.refused, m.billed_bytes, m.billed_mb,
	coalesce(round(100.0 * m.billed_bytes / nullif(sum(m.billed_bytes) OVER (), 0), 2), 0) AS share,
	q.monthly_requests, q.monthly_bandwidth_mb, m.deleted
FROM usage_by_user_month m LEFT JOIN quotas q ON q.user_id = m.user_id
WHERE m.month = usage_month(now(), q.reset_day)
ORDER BY m.billed_bytes DESC, m.user_id;

-- ---- what reconcile remembers ----------------------------------------------------------------------------------------------

-- What HAProxy's counter of a user and the rows of that user were when they were last found equal, or taken as they
-- were. process: the HAProxy that counted (its pid and start). requests: those it had counted and ended. rows, row_bytes:
-- of request_logs since `since`. A user without a row of their own had no counter at marked_at of user 0.
CREATE TABLE usage_reconcile_marks (
	user_id bigint PRIMARY KEY,
	process text NOT NULL,
	requests bigint NOT NULL,
	bytes_out bigint NOT NULL,
	in_flight bigint NOT NULL,
	since timestamptz NOT NULL,
	rows bigint NOT NULL,
	row_bytes bigint NOT NULL,
	marked_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each run, the last one with the highest id. differences: found by it; fixed: how many of them it mended.
CREATE TABLE usage_reconcile_runs (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	finished_at timestamptz NOT NULL DEFAULT now(),
	from_at timestamptz NOT NULL,
	to_at timestamptz NOT NULL,
	only_user bigint,
	users bigint NOT NULL,
	differences bigint NOT NULL,
	fixed bigint NOT NULL,
	details jsonb NOT NULL
);
CREATE INDEX usage_reconcile_runs_finished ON usage_reconcile_runs (finished_at);

-- ---- what reconcile compares -----------------------------------------------------------------------------------------------

-- Since when all raw rows are there: partitions of days are dropped from the oldest on. -infinity: none was ever made.
CREATE FUNCTION usage_rows_since() RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT coalesce(min(to_date(substr(c.relname, 14), 'YYYYMMDD'))::timestamp AT TIME ZONE 'UTC', '-infinity')
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
	WHERE i.inhparent = 'request_logs'::regclass AND c.relname ~ '^request_logs_[0-9]{8}$'
$$;

-- Roll-ups by hour that are not what the rows add up to. Arrays hold requests, request_bytes, response_bytes,
-- billed_bytes, active_ms; since and until are full hours.
CREATE FUNCTION usage_differences_hourly(since timestamptz, until timestamptz, only_user bigint)
	RETURNS TABLE (user_id bigint, hour timestamptz, api_key_id bigint, code text, kind text, backend text,
		should bigint[], have bigint[])
	LANGUAGE sql STABLE AS $$
	SELECT user_id, hour, api_key_id, code, kind, backend, coalesce(r.sums, '{0,0,0,0,0}'),
		coalesce(h.sums, '{0,0,0,0,0}')
	FROM (
		SELECT l.user_id, date_bin('1 hour', l.created_at, '1970-01-01 00:00:00+00') AS hour,
			coalesce(l.api_key_id, 0) AS api_key_id, l.code COLLATE "C" AS code, l.kind COLLATE "C" AS kind,
			coalesce(l.server, '') COLLATE "C" AS backend,
			ARRAY[count(*), coalesce(sum(l.request_size_bytes), 0), coalesce(sum(l.response_size_bytes), 0),
				sum(l.billed_bytes), coalesce(sum(greatest(l.response_time_ms, 0)), 0)]::bigint[] AS sums
		FROM request_logs l
		WHERE l.created_at >= since AND l.created_at < until AND (only_user IS NULL OR l.user_id = only_user)
		GROUP BY 1, 2, 3, 4, 5, 6
	) AS r FULL JOIN (
		SELECT o.user_id, o.hour, o.api_key_id, o.code, o.kind, o.backend,
			ARRAY[o.requests, o.request_bytes, o.response_bytes, o.billed_bytes, o.active_ms] AS sums
		FROM usage_hourly o
		WHERE o.hour >= since AND o.hour < until AND (only_user IS NULL OR o.user_id = only_user)
	) AS h USING (user_id, hour, api_key_id, code, kind, backend)
	WHERE r.sums IS DISTINCT FROM h.sums
	ORDER BY user_id, hour, api_key_id, code, kind, backend
$$;

-- Users of whose roll-ups some month since then does not begin where the reset day says: it was moved. Their months
-- overlap, and no hour tells to which of them it was added.
CREATE FUNCTION usage_moved_users(since timestamptz, only_user bigint) RETURNS TABLE (user_id bigint)
	LANGUAGE sql STABLE AS $$
	SELECT DISTINCT m.user_id FROM usage_monthly m LEFT JOIN quotas q ON q.user_id = m.user_id
	WHERE m.month >= (since AT TIME ZONE 'UTC')::date - 62 AND (only_user IS NULL OR m.user_id = only_user)
		AND usage_month(m.month::timestamp AT TIME ZONE 'UTC', q.reset_day) <> m.month
$$;

-- Roll-ups by month that are not what those by hour add up to: of the months that touch the interval and whose hours are
-- all there, which an hour before the month shows, or that no month was before it.
CREATE FUNCTION usage_differences_monthly(since timestamptz, until timestamptz, only_user bigint)
	RETURNS TABLE (user_id bigint, month date, api_key_id bigint, code text, kind text, backend text,
		should bigint[], have bigint[])
	LANGUAGE sql STABLE AS $$
	WITH span AS (
		SELECT u.user_id, q.reset_day, usage_month(since, q.reset_day) AS first,
			usage_month_end(usage_month(until - interval '1 microsecond', q.reset_day), q.reset_day) AS ends
		FROM (SELECT o.user_id FROM usage_monthly o WHERE o.month >= (since AT TIME ZONE 'UTC')::date - 31 UNION
			SELECT o.user_id FROM usage_hourly o WHERE o.hour >= since AND o.hour < until) AS u
		LEFT JOIN quotas q ON q.user_id = u.user_id
		WHERE (only_user IS NULL OR u.user_id = only_user)
			AND u.user_id NOT IN (SELECT v.user_id FROM usage_moved_users(since, only_user) AS v)
	), kept AS (
		SELECT s.* FROM span s
		WHERE EXISTS (SELECT FROM usage_hourly o WHERE o.user_id = s.user_id
				AND o.hour < s.first::timestamp AT TIME ZONE 'UTC')
			OR NOT EXISTS (SELECT FROM usage_monthly o WHERE o.user_id = s.user_id AND o.month < s.first)
	)
	SELECT user_id, month, api_key_id, code, kind, backend, coalesce(h.sums, '{0,0,0,0,0}'),
		coalesce(m.sums, '{0,0,0,0,0}')
	FROM (
		SELECT o.user_id, usage_month(o.hour, k.reset_day) AS month, o.api_key_id, o.code, o.kind, o.backend,
			ARRAY[sum(o.requests), sum(o.request_bytes), sum(o.response_bytes), sum(o.billed_bytes),
				sum(o.active_ms)]::bigint[] AS sums
		FROM usage_hourly o JOIN kept k ON k.user_id = o.user_id
			AND o.hour >= k.first::timestamp AT TIME ZONE 'UTC' AND o.hour < k.ends
		GROUP BY 1, 2, 3, 4, 5, 6
	) AS h FULL JOIN (
		SELECT o.user_id, o.month, o.api_key_id, o.code, o.kind, o.backend,
			ARRAY[o.requests, o.request_bytes, o.response_bytes, o.billed_bytes, o.active_ms] AS sums
		FROM usage_monthly o JOIN kept k ON k.user_id = o.user_id
			AND o.month >= k.first AND o.month < (k.ends AT TIME ZONE 'UTC')::date
	) AS m USING (user_id, month, api_key_id, code, kind, backend)
	WHERE h.sums IS DISTINCT FROM m.sums
	ORDER BY user_id, month, api_key_id, code, kind, backend
$$;

-- Counters of quotas that are not what the roll-ups of the running month add up to; of living users whose reset day was
-- not moved lately.
CREATE FUNCTION usage_differences_quotas(only_user bigint)
	RETURNS TABLE (user_id bigint, month date, requests_should bigint, requests_have bigint, bytes_should bigint,
		bytes_have bigint)
	LANGUAGE sql STABLE AS $$
	SELECT s.user_id, s.month, s.admitted, s.requests, s.billed, s.bytes
	FROM (
		SELECT u.id AS user_id, n.month,
			CASE WHEN q.reset_at > now() THEN q.current_requests ELSE 0 END AS requests,
			CASE WHEN q.reset_at > now() THEN q.current_bandwidth_bytes ELSE 0 END AS bytes,
			coalesce(m.admitted, 0)::bigint AS admitted, coalesce(m.billed, 0)::bigint AS billed
		FROM users u LEFT JOIN quotas q ON q.user_id = u.id
			CROSS JOIN LATERAL (SELECT usage_month(now(), q.reset_day) AS month) AS n
			LEFT JOIN LATERAL (
				SELECT sum(o.requests) FILTER (WHERE o.code = 'allow' AND o.kind IN ('image', 'upload')) AS admitted,
					sum(o.billed_bytes) AS billed
				FROM usage_monthly o WHERE o.user_id = u.id AND o.month = n.month
			) AS m ON true
		WHERE u.deleted_at IS NULL AND (only_user IS NULL OR u.id = only_user)
			AND (q.reset_at IS NULL OR q.reset_at <= now() OR q.reset_at = usage_month_end(n.month, q.reset_day))
			AND u.id NOT IN (SELECT v.user_id FROM usage_moved_users(now(), only_user) AS v)
	) AS s
	WHERE (s.requests, s.bytes) IS DISTINCT FROM (s.admitted, s.billed)
	ORDER BY s.user_id
$$;

-- HAProxy's counters against rows: one row for each user of the given ones. state: 'new' (there is no mark of this
-- process to grow from), 'smaller' (the counter is less than it was), 'equal' or 'differs'. since: from when on
-- recent_rows and recent_bytes, for the next mark, are counted.
CREATE FUNCTION usage_compare_haproxy(now_process text, ids bigint[], ended bigint[], sent bigint[], since timestamptz)
	RETURNS TABLE (user_id bigint, state text, counted bigint, found bigint, bytes_sent bigint, row_bytes bigint,
		bytes_known boolean, all_rows bigint, recent_rows bigint, recent_bytes bigint)
	LANGUAGE sql STABLE AS $$
	SELECT b.user_id,
		CASE WHEN NOT b.known THEN 'new' WHEN b.grown < 0 THEN 'smaller' WHEN b.grown = r.n - b.rows THEN 'equal'
			ELSE 'differs' END,
		b.grown, r.n - b.rows, b.sent - b.mark_sent, r.bytes - b.mark_bytes, b.quiet, r.n, r.recent_n, r.recent_bytes
	FROM (
		SELECT t.id AS user_id, t.sent, coalesce(m.process, p.process) IS NOT NULL AS known,
			t.ended - coalesce(m.requests, 0) AS grown, coalesce(m.bytes_out, 0) AS mark_sent,
			coalesce(m.rows, 0) AS rows, coalesce(m.row_bytes, 0) AS mark_bytes, coalesce(m.in_flight, 0) = 0 AS quiet,
			coalesce(m.since, p.marked_at, 'infinity') AS since
		FROM unnest(ids, ended, sent) AS t (id, ended, sent)
			LEFT JOIN usage_reconcile_marks m ON m.user_id = t.id AND m.process = now_process
				AND m.marked_at > now() - interval '10 days'
			LEFT JOIN usage_reconcile_marks p ON p.user_id = 0 AND p.process = now_process
				AND p.marked_at > now() - interval '10 days'
	) AS b CROSS JOIN LATERAL (
		SELECT count(*) FILTER (WHERE l.created_at >= b.since) AS n,
			coalesce(sum(l.response_size_bytes) FILTER (WHERE l.created_at >= b.since AND l.code = 'allow'), 0)::bigint
				AS bytes,
			count(*) FILTER (WHERE l.created_at >= usage_compare_haproxy.since) AS recent_n,
			coalesce(sum(l.response_size_bytes) FILTER (WHERE l.created_at >= usage_compare_haproxy.since
				AND l.code = 'allow'), 0)::bigint AS recent_bytes
		FROM request_logs l
		WHERE l.user_id = b.user_id AND l.created_at >= least(b.since, usage_compare_haproxy.since)
	) AS r
	ORDER BY b.user_id
$$;

-- ---- what reconcile mends ---------------------------------------------------------------------------------------------------

-- Each of these locks what it is going to set, in the order of all who write here (005_usage.sql), and only then adds up,
-- in a statement that sees what was committed until then. Whoever ships meanwhile and is not seen waits for the lock, and
-- adds to what was set. Returns how many roll-ups or counters were set.
CREATE FUNCTION usage_mend_hourly(since timestamptz, until timestamptz, only_user bigint) RETURNS bigint
	LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	-- Nobody drops a partition meanwhile.
	PERFORM pg_advisory_xact_lock(hashtextextended('gateway usage partitions', 0));
	IF since < usage_rows_since() THEN
		RAISE EXCEPTION 'raw rows are complete since % only', usage_rows_since();
	END IF;
	CREATE TEMPORARY TABLE usage_mend_h ON COMMIT DROP AS
		SELECT * FROM usage_differences_hourly(since, until, only_user);
	INSERT INTO usage_hourly AS h
	SELECT m.user_id, m.hour, m.api_key_id, m.code, m.kind, m.backend, 0, 0, 0, 0, 0
	FROM usage_mend_h m
	ORDER BY m.user_id, m.hour, m.api_key_id, m.code COLLATE "C", m.kind COLLATE "C", m.backend COLLATE "C"
	ON CONFLICT (user_id, hour, api_key_id, code, kind, backend) DO UPDATE SET requests = h.requests;
	UPDATE usage_hourly h SET requests = s.n, request_bytes = s.request_bytes, response_bytes = s.response_bytes,
		billed_bytes = s.billed_bytes, active_ms = s.active_ms
	FROM usage_mend_h m CROSS JOIN LATERAL (
		SELECT count(*) AS n, coalesce(sum(l.request_size_bytes), 0) AS request_bytes,
			coalesce(sum(l.response_size_bytes), 0) AS response_bytes, coalesce(sum(l.billed_bytes), 0) AS billed_bytes,
			coalesce(sum(greatest(l.response_time_ms, 0)), 0) AS active_ms
		FROM request_logs l
		WHERE l.user_id = m.user_id AND l.created_at >= m.hour AND l.created_at < m.hour + interval '1 hour'
			AND coalesce(l.api_key_id, 0) = m.api_key_id AND l.code = m.code AND l.kind = m.kind
			AND coalesce(l.server, '') = m.backend
	) AS s
	WHERE h.user_id = m.user_id AND h.hour = m.hour AND h.api_key_id = m.api_key_id AND h.code = m.code COLLATE "C"
		AND h.kind = m.kind COLLATE "C" AND h.backend = m.backend COLLATE "C";
	GET DIAGNOSTICS n = ROW_COUNT;
	DELETE FROM usage_hourly h USING usage_mend_h m
	WHERE h.user_id = m.user_id AND h.hour = m.hour AND h.api_key_id = m.api_key_id AND h.code = m.code COLLATE "C"
		AND h.kind = m.kind COLLATE "C" AND h.backend = m.backend COLLATE "C" AND h.requests = 0;
	RETURN n;
END
$$;

CREATE FUNCTION usage_mend_monthly(since timestamptz, until timestamptz, only_user bigint) RETURNS bigint
	LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	CREATE TEMPORARY TABLE usage_mend_m ON COMMIT DROP AS
		SELECT d.*, q.reset_day FROM usage_differences_monthly(since, until, only_user) AS d
			LEFT JOIN quotas q ON q.user_id = d.user_id;
	INSERT INTO usage_monthly AS h
	SELECT m.user_id, m.month, m.api_key_id, m.code, m.kind, m.backend, 0, 0, 0, 0, 0
	FROM usage_mend_m m
	ORDER BY m.user_id, m.month, m.api_key_id, m.code COLLATE "C", m.kind COLLATE "C", m.backend COLLATE "C"
	ON CONFLICT (user_id, month, api_key_id, code, kind, backend) DO UPDATE SET requests = h.requests;
	UPDATE usage_monthly h SET requests = s.requests, request_bytes = s.request_bytes, response_bytes = s.response_bytes,
		billed_bytes = s.billed_bytes, active_ms = s.active_ms
	FROM usage_mend_m m CROSS JOIN LATERAL (
		SELECT coalesce(sum(o.requests), 0) AS requests, coalesce(sum(o.request_bytes), 0) AS request_bytes,
			coalesce(sum(o.response_bytes), 0) AS response_bytes, coalesce(sum(o.billed_bytes), 0) AS billed_bytes,
			coalesce(sum(o.active_ms), 0) AS active_ms
		FROM usage_hourly o
		WHERE o.user_id = m.user_id AND o.hour >= m.month::timestamp AT TIME ZONE 'UTC'
			AND o.hour < usage_month_end(m.month, m.reset_day) AND o.api_key_id = m.api_key_id
			AND o.code = m.code COLLATE "C" AND o.kind = m.kind COLLATE "C" AND o.backend = m.backend COLLATE "C"
	) AS s
	WHERE h.user_id = m.user_id AND h.month = m.month AND h.api_key_id = m.api_key_id AND h.code = m.code COLLATE "C"
		AND h.kind = m.kind COLLATE "C" AND h.backend = m.backend COLLATE "C";
	GET DIAGNOSTICS n = ROW_COUNT;
	DELETE FROM usage_monthly h USING usage_mend_m m
	WHERE h.user_id = m.user_id AND h.month = m.month AND h.api_key_id = m.api_key_id AND h.code = m.code COLLATE "C"
		AND h.kind = m.kind COLLATE "C" AND h.backend = m.backend COLLATE "C" AND h.requests = 0;
	RETURN n;
END
$$;

-- Sets the month's bytes of users whose counter is off, in either direction, and raises the requests of those in raised
-- to what was admitted; more requests than that are under way, or were admitted and never recorded, and stay counted.
CREATE FUNCTION usage_mend_quotas(only_user bigint, raised bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[] := ARRAY(SELECT d.user_id FROM usage_differences_quotas(only_user) AS d
		WHERE d.bytes_should <> d.bytes_have OR (d.user_id = ANY (raised) AND d.requests_should > d.requests_have));
	n bigint;
BEGIN
	INSERT INTO quotas AS q (user_id, monthly_requests, monthly_bandwidth_mb, reset_at)
	SELECT u.id, NULL, NULL, usage_month_end(usage_month(now(), NULL), NULL)
	FROM users u WHERE u.id = ANY (ids) AND u.deleted_at IS NULL ORDER BY u.id
	ON CONFLICT (user_id) DO UPDATE SET current_requests = q.current_requests;
	UPDATE quotas q SET current_bandwidth_bytes = s.billed, current_bandwidth_mb = s.billed >> 20,
		current_requests = greatest(CASE WHEN q.user_id = ANY (raised) THEN s.admitted ELSE 0 END,
			CASE WHEN q.reset_at > now() THEN q.current_requests ELSE 0 END),
		warned_requests = CASE WHEN q.reset_at > now() THEN q.warned_requests ELSE 0 END,
		warned_bandwidth = CASE WHEN q.reset_at > now() THEN q.warned_bandwidth ELSE 0 END,
		reset_at = usage_month_end(usage_month(now(), q.reset_day), q.reset_day)
	FROM (
		SELECT o.user_id, coalesce(sum(m.requests) FILTER (WHERE m.code = 'allow' AND m.kind IN ('image', 'upload')),
				0)::bigint AS admitted, coalesce(sum(m.billed_bytes), 0)::bigint AS billed
		FROM quotas o LEFT JOIN usage_monthly m ON m.user_id = o.user_id AND m.month = usage_month(now(), o.reset_day)
		WHERE o.user_id = ANY (ids) GROUP BY o.user_id
	) AS s
	WHERE q.user_id = s.user_id;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
