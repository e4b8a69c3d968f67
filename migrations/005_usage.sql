-- Usage: the rest of a request's record, roll-ups by hour and month, how far each agent's spool is shipped, and the
-- month's bandwidth in bytes. The shipper (spoa/store/usage_ship.h) moves a batch in one transaction: it locks its row of
-- usage_positions, copies records into usage_batch, and calls usage_ship().
--
-- Locks are taken in one order by all: usage_positions (an agent's own row), request_logs by (created_at, request_id),
-- usage_hourly, usage_monthly, api_keys, quotas, each by its key. So several agents never wait for each other in a ring.

-- code is the verdict's: 'allow' for an admitted request, else why it was refused. backend and server are HAProxy's
-- names; backend_id is the row of `backends` with the server's name, NULL when there is none. response_time_ms is how
-- long the request took from its first byte to its last. response_size_bytes are the bytes of the body that were sent,
-- billed_bytes those that count for the month's bandwidth.
UPDATE request_logs SET code = 'allow' WHERE code IS NULL;
ALTER TABLE request_logs
	ALTER COLUMN code SET NOT NULL,
	ADD COLUMN kind text NOT NULL DEFAULT 'image'
		CONSTRAINT request_logs_kind_known CHECK (kind IN ('image', 'upload', 'api')),
	ADD COLUMN termination text CONSTRAINT request_logs_termination_length CHECK (char_length(termination) <= 64),
	ADD COLUMN method text CONSTRAINT request_logs_method_length CHECK (char_length(method) <= 64),
	ADD COLUMN backend text CONSTRAINT request_logs_backend_length CHECK (char_length(backend) <= 64),
	ADD COLUMN server text CONSTRAINT request_logs_server_length CHECK (char_length(server) <= 64),
	ADD COLUMN client_address inet,
	ADD COLUMN billed_bytes bigint NOT NULL DEFAULT 0
		CONSTRAINT request_logs_billed_range CHECK (billed_bytes >= 0);

-- The id's sequence is written to the log for each 32 values that are taken from it one by one.
ALTER TABLE request_logs ALTER COLUMN id SET CACHE 1000;

-- Sums of the rows of request_logs, which they outlive. api_key_id 0: no key was known; backend: HAProxy's name of the
-- server, '' for none; active_ms: sum of the times that are known.
CREATE TABLE usage_hourly (
	user_id bigint NOT NULL,
	hour timestamptz NOT NULL,
	api_key_id bigint NOT NULL,
	code text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	backend text COLLATE "C" NOT NULL,
	requests bigint NOT NULL,
	request_bytes bigint NOT NULL,
	response_bytes bigint NOT NULL,
	billed_bytes bigint NOT NULL,
	active_ms bigint NOT NULL,
	PRIMARY KEY (user_id, hour, api_key_id, code, kind, backend)
) WITH (fillfactor = 70);

-- month is the first day of the user's month, as quotas.reset_day was when the record came.
CREATE TABLE usage_monthly (
	user_id bigint NOT NULL,
	month date NOT NULL,
	api_key_id bigint NOT NULL,
	code text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	backend text COLLATE "C" NOT NULL,
	requests bigint NOT NULL,
	request_bytes bigint NOT NULL,
	response_bytes bigint NOT NULL,
	billed_bytes bigint NOT NULL,
	active_ms bigint NOT NULL,
	PRIMARY KEY (user_id, month, api_key_id, code, kind, backend)
) WITH (fillfactor = 70);

-- Up to where each agent's spool is in request_logs: the place behind the last record (spoa/usage/spool.h).
CREATE TABLE usage_positions (
	agent text PRIMARY KEY CONSTRAINT usage_positions_agent_length CHECK (char_length(agent) BETWEEN 1 AND 64),
	segment bigint NOT NULL DEFAULT 0 CONSTRAINT usage_positions_segment_range CHECK (segment >= 0),
	"offset" bigint NOT NULL DEFAULT 0 CONSTRAINT usage_positions_offset_range CHECK ("offset" >= 0),
	updated_at timestamptz NOT NULL DEFAULT now()
);

-- The month's bandwidth is counted in bytes; current_bandwidth_mb follows, in whole MB. Who sets only the MB sets the
-- bytes with them.
ALTER TABLE quotas
	ADD COLUMN current_bandwidth_bytes bigint NOT NULL DEFAULT 0
		CONSTRAINT quotas_current_bytes_range CHECK (current_bandwidth_bytes >= 0);
UPDATE quotas SET current_bandwidth_bytes = least(current_bandwidth_mb, 8796093022207) << 20
	WHERE current_bandwidth_mb > 0;

CREATE FUNCTION quotas_bandwidth_in_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.current_bandwidth_bytes <> coalesce(OLD.current_bandwidth_bytes, 0) THEN
		NEW.current_bandwidth_mb := NEW.current_bandwidth_bytes >> 20;
	ELSE
		NEW.current_bandwidth_bytes := least(NEW.current_bandwidth_mb, 8796093022207) << 20;
	END IF;
	RETURN NEW;
END
$$;

CREATE TRIGGER quotas_bandwidth BEFORE INSERT OR UPDATE ON quotas
	FOR EACH ROW WHEN (NEW.current_bandwidth_mb <> NEW.current_bandwidth_bytes >> 20)
	EXECUTE FUNCTION quotas_bandwidth_in_step();

-- ---- months -----------------------------------------------------------------------------------------------------

-- The day on which a user's month starts within the calendar month that begins with `first` (spoa/policy/period.h).
CREATE FUNCTION usage_month_in(first date, reset_day int) RETURNS date
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT first + least(coalesce(reset_day, 1), extract(day FROM first + interval '1 month' - interval '1 day')::int) - 1
$$;

-- The first day of the month that holds the moment, for a reset day of 1 to 31 or NULL.
CREATE FUNCTION usage_month(moment timestamptz, reset_day int) RETURNS date
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE WHEN d.day >= usage_month_in(d.first, reset_day) THEN usage_month_in(d.first, reset_day)
		ELSE usage_month_in((d.first - interval '1 month')::date, reset_day) END
	FROM (SELECT (moment AT TIME ZONE 'UTC')::date AS day,
		date_trunc('month', moment AT TIME ZONE 'UTC')::date AS first) AS d
$$;

-- The moment at which a month ends that begins on that day.
CREATE FUNCTION usage_month_end(month date, reset_day int) RETURNS timestamptz
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT usage_month_in((date_trunc('month', month::timestamp) + interval '1 month')::date, reset_day)::timestamp
		AT TIME ZONE 'UTC'
$$;

-- ---- a batch ----------------------------------------------------------------------------------------------------

-- Makes the session's tables: usage_batch takes the copied records, usage_sums what usage_ship() has made of them.
CREATE FUNCTION usage_open() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMPORARY TABLE IF NOT EXISTS usage_batch (
		id text COLLATE "C", user_id bigint, key_id bigint, code text, status integer, start_ms bigint, active_ms bigint,
		request_bytes bigint, response_bytes bigint, billed_bytes bigint, kind text, termination text, method text,
		backend text, server text, address inet, path text
	) ON COMMIT DELETE ROWS;
	CREATE TEMPORARY TABLE IF NOT EXISTS usage_sums (
		user_id bigint, hour timestamptz, api_key_id bigint, code text COLLATE "C", kind text COLLATE "C",
		backend text COLLATE "C", requests bigint, request_bytes bigint, response_bytes bigint, billed_bytes bigint,
		active_ms bigint, last_at timestamptz, month date, ends timestamptz
	) ON COMMIT DELETE ROWS;
END
$$;

-- Moves what is in usage_batch, and sets the agent's position, whose row the transaction has locked. Returns how many
-- records were new: those that were there already count nowhere again.
CREATE FUNCTION usage_ship(for_agent text, to_segment bigint, to_offset bigint) RETURNS bigint
	LANGUAGE plpgsql SET work_mem = '32MB' AS $$
DECLARE
	added bigint;
	insert_new CONSTANT text := $sql$
		WITH new AS (
			INSERT INTO request_logs (request_id, user_id, api_key_id, backend_id, request_path, response_status, code,
				response_time_ms, request_size_bytes, response_size_bytes, created_at, kind, termination, method, backend,
				server, client_address, billed_bytes)
			SELECT b.id, b.user_id, b.key_id, e.id, b.path, b.status, b.code, b.active_ms, b.request_bytes, b.response_bytes,
				to_timestamp(b.start_ms / 1000.0::float8), b.kind, b.termination, b.method, b.backend, b.server, b.address,
				b.billed_bytes
			FROM usage_batch b LEFT JOIN backends e ON e.name = b.server
			ORDER BY b.start_ms, b.id
			%s
			RETURNING user_id, created_at, api_key_id, code, kind, server, request_size_bytes, response_size_bytes,
				billed_bytes, response_time_ms
		), sums AS MATERIALIZED (
			SELECT user_id, date_bin('1 hour', created_at, '1970-01-01 00:00:00+00') AS hour,
				coalesce(api_key_id, 0) AS api_key_id, code, kind, coalesce(server, '') AS backend, count(*) AS requests,
				sum(request_size_bytes) AS request_bytes, sum(response_size_bytes) AS response_bytes,
				sum(billed_bytes) AS billed_bytes, sum(greatest(response_time_ms, 0)) AS active_ms,
				max(created_at) AS last_at
			FROM new GROUP BY 1, 2, 3, 4, 5, 6
		), with_day AS MATERIALIZED (
			SELECT s.*, coalesce(q.reset_day, 1) AS reset_day FROM sums s LEFT JOIN quotas q ON q.user_id = s.user_id
		), months AS MATERIALIZED ( -- of thousands of users in an hour few have different ones
			SELECT hour, reset_day, usage_month(hour, reset_day) AS month
			FROM (SELECT DISTINCT hour, reset_day FROM with_day) AS d
		)
		INSERT INTO usage_sums
		SELECT w.user_id, w.hour, w.api_key_id, w.code, w.kind, w.backend, w.requests, w.request_bytes, w.response_bytes,
			w.billed_bytes, w.active_ms, w.last_at, m.month, m.ends
		FROM with_day w JOIN (
			SELECT hour, reset_day, month, usage_month_end(month, reset_day) AS ends FROM months
		) AS m ON m.hour = w.hour AND m.reset_day = w.reset_day
	$sql$;
BEGIN
	-- A record that is there already is rare, and looking out for each costs a third of all: only after it was met.
	BEGIN
		EXECUTE format(insert_new, '');
	EXCEPTION WHEN unique_violation THEN
		EXECUTE format(insert_new, 'ON CONFLICT DO NOTHING');
	END;

	INSERT INTO usage_hourly AS h
	SELECT user_id, hour, api_key_id, code, kind, backend, requests, request_bytes, response_bytes, billed_bytes, active_ms
	FROM usage_sums ORDER BY user_id, hour, api_key_id, code, kind, backend
	ON CONFLICT (user_id, hour, api_key_id, code, kind, backend) DO UPDATE SET
		requests = h.requests + EXCLUDED.requests,
		request_bytes = h.request_bytes + EXCLUDED.request_bytes,
		response_bytes = h.response_bytes + EXCLUDED.response_bytes,
		billed_bytes = h.billed_bytes + EXCLUDED.billed_bytes,
		active_ms = h.active_ms + EXCLUDED.active_ms;

	INSERT INTO usage_monthly AS m
	SELECT user_id, month, api_key_id, code, kind, backend, sum(requests), sum(request_bytes), sum(response_bytes),
		sum(billed_bytes), sum(active_ms)
	FROM usage_sums GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
	ON CONFLICT (user_id, month, api_key_id, code, kind, backend) DO UPDATE SET
		requests = m.requests + EXCLUDED.requests,
		request_bytes = m.request_bytes + EXCLUDED.request_bytes,
		response_bytes = m.response_bytes + EXCLUDED.response_bytes,
		billed_bytes = m.billed_bytes + EXCLUDED.billed_bytes,
		active_ms = m.active_ms + EXCLUDED.active_ms;

	-- A key in use would be written with each batch: it is known to within five seconds.
	UPDATE api_keys k SET last_used_at = u.last_at
	FROM (
		SELECT o.id, l.last_at
		FROM (SELECT api_key_id, max(last_at) AS last_at FROM usage_sums
			WHERE code = 'allow' AND api_key_id <> 0 GROUP BY api_key_id) AS l
		JOIN api_keys o ON o.id = l.api_key_id
		WHERE o.last_used_at IS NULL OR o.last_used_at < l.last_at - interval '5 seconds'
		ORDER BY o.id FOR NO KEY UPDATE OF o
	) AS u
	WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.last_at);

	-- The same as for the requests (spoa/store/quota_sql.h). An addition of a month that is over counts only in a row
	-- that still stands in it; a row of a month that is over, or of one a whole month before, begins anew; else the
	-- reset day was moved, and the row counts on. Of a user's months in the batch the last one is the row's.
	INSERT INTO quotas AS q (user_id, monthly_requests, monthly_bandwidth_mb, current_bandwidth_bytes,
		current_bandwidth_mb, reset_at)
	SELECT user_id, NULL, NULL, billed, billed >> 20, ends
	FROM (
		SELECT DISTINCT ON (s.user_id) s.user_id, s.ends, sum(s.billed_bytes)::bigint AS billed
		FROM usage_sums s JOIN users u ON u.id = s.user_id AND u.deleted_at IS NULL
		WHERE s.billed_bytes > 0 GROUP BY 1, 2 ORDER BY 1, 2 DESC
	) AS d ORDER BY user_id
	ON CONFLICT (user_id) DO UPDATE SET
		current_requests = CASE WHEN NOT (EXCLUDED.reset_at <= now() AND q.reset_at <> EXCLUDED.reset_at)
				AND q.reset_at < EXCLUDED.reset_at
				AND (q.reset_at <= now() OR q.reset_at <= EXCLUDED.reset_at - interval '672 hours')
			THEN 0 ELSE q.current_requests END,
		current_bandwidth_bytes = CASE WHEN q.reset_at < EXCLUDED.reset_at
				AND (q.reset_at <= now() OR q.reset_at <= EXCLUDED.reset_at - interval '672 hours')
			THEN EXCLUDED.current_bandwidth_bytes
			ELSE q.current_bandwidth_bytes + EXCLUDED.current_bandwidth_bytes END,
		current_bandwidth_mb = CASE WHEN q.reset_at < EXCLUDED.reset_at
				AND (q.reset_at <= now() OR q.reset_at <= EXCLUDED.reset_at - interval '672 hours')
			THEN EXCLUDED.current_bandwidth_bytes
			ELSE q.current_bandwidth_bytes + EXCLUDED.current_bandwidth_bytes END >> 20,
		warned_requests = CASE WHEN q.reset_at < EXCLUDED.reset_at
				AND (q.reset_at <= now() OR q.reset_at <= EXCLUDED.reset_at - interval '672 hours')
			THEN 0 ELSE q.warned_requests END,
		warned_bandwidth = CASE WHEN q.reset_at < EXCLUDED.reset_at
				AND (q.reset_at <= now() OR q.reset_at <= EXCLUDED.reset_at - interval '672 hours')
			THEN 0 ELSE q.warned_bandwidth END,
		reset_at = EXCLUDED.reset_at
	WHERE NOT (EXCLUDED.reset_at <= now() AND q.reset_at <> EXCLUDED.reset_at);

	UPDATE usage_positions SET segment = to_segment, "offset" = to_offset, updated_at = now() WHERE agent = for_agent;
	SELECT coalesce(sum(requests), 0) INTO added FROM usage_sums;
	RETURN added;
END
$$;

-- ---- partitions -------------------------------------------------------------------------------------------------

-- Makes the partitions request_logs_YYYYMMDD of today (UTC) and so many days more, where they are not; rows of such a
-- day that the default partition holds move there. A day that another partition covers is left alone. Returns how many
-- were made.
CREATE FUNCTION usage_partitions_make(ahead int) RETURNS int LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
	today date := (now() AT TIME ZONE 'UTC')::date;
	day date;
	name text;
	made int := 0;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('gateway usage partitions', 0));
	FOR n IN 0..ahead LOOP
		day := today + n;
		name := 'request_logs_' || to_char(day, 'YYYYMMDD');
		CONTINUE WHEN to_regclass(name) IS NOT NULL;
		BEGIN
			-- Whoever writes holds the table to the end of its transaction, so nobody is on the way to the default
			-- partition with a row that is not for it any more.
			LOCK TABLE ONLY request_logs IN SHARE ROW EXCLUSIVE MODE;
			LOCK TABLE request_logs_default IN ACCESS EXCLUSIVE MODE;
			EXECUTE format('CREATE TABLE %I (LIKE request_logs INCLUDING ALL EXCLUDING IDENTITY)', name);
			EXECUTE format('WITH moved AS (DELETE FROM request_logs_default WHERE created_at >= %1$L AND created_at < %2$L '
				'RETURNING *) INSERT INTO %3$I SELECT * FROM moved',
				day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC', name);
			EXECUTE format('ALTER TABLE request_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
				day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
			made := made + 1;
		EXCEPTION WHEN invalid_object_definition THEN -- it would overlap
			RAISE NOTICE 'no partition % is made: %', name, SQLERRM;
		END;
	END LOOP;
	RETURN made;
END
$$;

-- Drops the partitions request_logs_YYYYMMDD whose day is more than so many days ago, and deletes such rows from the
-- default partition. Returns how many partitions were dropped.
CREATE FUNCTION usage_partitions_drop(retention_days int) RETURNS int LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
	oldest date := (now() AT TIME ZONE 'UTC')::date - retention_days;
	name text;
	dropped int := 0;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('gateway usage partitions', 0));
	FOR name IN
		SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'request_logs'::regclass AND c.relname ~ '^request_logs_[0-9]{8}$'
			AND substr(c.relname, 14) < to_char(oldest, 'YYYYMMDD')
		ORDER BY c.relname
	LOOP
		EXECUTE format('DROP TABLE %I', name);
		dropped := dropped + 1;
	END LOOP;
	DELETE FROM request_logs_default WHERE created_at < oldest::timestamp AT TIME ZONE 'UTC';
	RETURN dropped;
END
$$;
