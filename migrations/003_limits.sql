-- Limits, quotas and allow lists as part of the policy.
--
-- A limit that is NULL has the value of the setting of the same name; 0 means no limit. requests_per_minute N is a bucket
-- that is refilled at N/60 a second and holds `burst` (N when it is NULL); the bucket of an hour holds N. A limit in
-- shadow is decided and counted, and lets pass.
ALTER TABLE rate_limits
	ALTER COLUMN requests_per_minute DROP NOT NULL,
	ALTER COLUMN requests_per_hour DROP NOT NULL,
	ADD COLUMN burst bigint CONSTRAINT rate_limits_burst_range CHECK (burst BETWEEN 1 AND 1000000000),
	ADD COLUMN shadow_minute boolean NOT NULL DEFAULT false,
	ADD COLUMN shadow_hour boolean NOT NULL DEFAULT false;

-- reset_day: the day on which the user's month starts, at 0:00 UTC; NULL: the calendar's first. In a month without that
-- day it is the last one. The current_* columns belong to the month that ends at reset_at: when that is past they mean 0.
-- warned_* are the highest of 80 and 100 (percent) that was told of the requests, and of the bandwidth, in that month.
ALTER TABLE quotas
	ALTER COLUMN monthly_requests DROP NOT NULL,
	ALTER COLUMN monthly_bandwidth_mb DROP NOT NULL,
	ADD CONSTRAINT quotas_requests_most CHECK (monthly_requests <= 1000000000000000),
	ADD COLUMN storage_mb bigint CONSTRAINT quotas_storage_range CHECK (storage_mb BETWEEN 0 AND 8796093022207),
	ADD COLUMN reset_day smallint CONSTRAINT quotas_reset_day_range CHECK (reset_day BETWEEN 1 AND 31),
	ADD COLUMN shadow_requests boolean NOT NULL DEFAULT false,
	ADD COLUMN shadow_bandwidth boolean NOT NULL DEFAULT false,
	ADD COLUMN warned_requests smallint NOT NULL DEFAULT 0,
	ADD COLUMN warned_bandwidth smallint NOT NULL DEFAULT 0;

-- The agents look every few seconds for counters that others have changed.
CREATE INDEX quotas_updated_at_index ON quotas (updated_at);

-- A key that was rotated names the one that replaced it.
ALTER TABLE api_keys ADD COLUMN replaced_by bigint REFERENCES api_keys (id) ON DELETE SET NULL;
CREATE INDEX api_keys_replaced_by ON api_keys (replaced_by) WHERE replaced_by IS NOT NULL;

-- What a verdict reads of these tables lies in the record of the user, so their notifications carry ids of users. The
-- counters of quotas (current_*, warned_*, reset_at, updated_at) are not part of the policy.
CREATE FUNCTION policy_rate_limits_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		ids := ARRAY(SELECT user_id FROM new_rows ORDER BY user_id);
	ELSIF TG_OP = 'DELETE' THEN
		ids := ARRAY(SELECT user_id FROM old_rows ORDER BY user_id);
	ELSIF TG_OP = 'UPDATE' THEN
		ids := ARRAY(
			SELECT user_id FROM (
				(SELECT user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM old_rows
					EXCEPT
				SELECT user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM new_rows)
				UNION ALL
				(SELECT user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM new_rows
					EXCEPT
				SELECT user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM old_rows)
			) AS changed GROUP BY user_id ORDER BY user_id);
	END IF;
	PERFORM policy_changed('rate_limits', ids);
	RETURN NULL;
END
$$;

-- A new row of counters alone says nothing that its absence did not.
CREATE FUNCTION policy_quotas_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		ids := ARRAY(
			SELECT user_id FROM new_rows
			WHERE monthly_requests IS NOT NULL OR monthly_bandwidth_mb IS NOT NULL OR reset_day IS NOT NULL
				OR shadow_requests OR shadow_bandwidth
			ORDER BY user_id);
	ELSIF TG_OP = 'DELETE' THEN
		ids := ARRAY(SELECT user_id FROM old_rows ORDER BY user_id);
	ELSIF TG_OP = 'UPDATE' THEN
		ids := ARRAY(
			SELECT user_id FROM (
				(SELECT user_id, monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests, shadow_bandwidth
					FROM old_rows
					EXCEPT
				SELECT user_id, monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests, shadow_bandwidth
					FROM new_rows)
				UNION ALL
				(SELECT user_id, monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests, shadow_bandwidth
					FROM new_rows
					EXCEPT
				SELECT user_id, monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests, shadow_bandwidth
					FROM old_rows)
			) AS changed GROUP BY user_id ORDER BY user_id);
	END IF;
	PERFORM policy_changed('quotas', ids);
	RETURN NULL;
END
$$;

CREATE FUNCTION policy_ip_whitelist_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		ids := ARRAY(SELECT user_id FROM new_rows GROUP BY user_id ORDER BY user_id);
	ELSIF TG_OP = 'DELETE' THEN
		ids := ARRAY(SELECT user_id FROM old_rows GROUP BY user_id ORDER BY user_id);
	ELSIF TG_OP = 'UPDATE' THEN
		ids := ARRAY(
			SELECT user_id FROM (
				(SELECT user_id, ip_cidr FROM old_rows EXCEPT SELECT user_id, ip_cidr FROM new_rows)
				UNION ALL
				(SELECT user_id, ip_cidr FROM new_rows EXCEPT SELECT user_id, ip_cidr FROM old_rows)
			) AS changed GROUP BY user_id ORDER BY user_id);
	END IF;
	PERFORM policy_changed('ip_whitelist', ids);
	RETURN NULL;
END
$$;

CREATE TRIGGER policy_insert AFTER INSERT ON rate_limits REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_rate_limits_changed();
CREATE TRIGGER policy_update AFTER UPDATE ON rate_limits REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_rate_limits_changed();
CREATE TRIGGER policy_delete AFTER DELETE ON rate_limits REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_rate_limits_changed();
CREATE TRIGGER policy_truncate AFTER TRUNCATE ON rate_limits
	FOR EACH STATEMENT EXECUTE FUNCTION policy_rate_limits_changed();

CREATE TRIGGER policy_insert AFTER INSERT ON quotas REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_quotas_changed();
CREATE TRIGGER policy_update AFTER UPDATE ON quotas REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_quotas_changed();
CREATE TRIGGER policy_delete AFTER DELETE ON quotas REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_quotas_changed();
CREATE TRIGGER policy_truncate AFTER TRUNCATE ON quotas
	FOR EACH STATEMENT EXECUTE FUNCTION policy_quotas_changed();

CREATE TRIGGER policy_insert AFTER INSERT ON ip_whitelist REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_ip_whitelist_changed();
CREATE TRIGGER policy_update AFTER UPDATE ON ip_whitelist REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_ip_whitelist_changed();
CREATE TRIGGER policy_delete AFTER DELETE ON ip_whitelist REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_ip_whitelist_changed();
CREATE TRIGGER policy_truncate AFTER TRUNCATE ON ip_whitelist
	FOR EACH STATEMENT EXECUTE FUNCTION policy_ip_whitelist_changed();

-- What was there before is read by the agents with the next full load.
SELECT policy_changed('users', NULL);

-- The last addition of each agent to the counters of quotas: one that is sent again, because its answer was lost, has
-- its number already and adds nothing.
CREATE TABLE quota_flushes (
	host text PRIMARY KEY CONSTRAINT quota_flushes_host_length CHECK (char_length(host) BETWEEN 1 AND 64),
	number bigint NOT NULL,
	updated_at timestamptz NOT NULL DEFAULT now()
);
