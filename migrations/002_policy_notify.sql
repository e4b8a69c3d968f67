-- Tells the agents what changed in the policy: for each statement that changed columns which a verdict reads one
-- notification on the channel gateway_policy, `TABLE:ID,ID,…:GENERATION:STAMP` with the changed rows, or
-- `resync::GENERATION:STAMP` ("read everything") when there are more than 100 of them, or the table was emptied.
--
-- The generation comes from one row, not from a sequence: the row stays locked until the transaction ends, so
-- generations are committed in their order, and a reader that has applied N has applied all before it. `stamp` is made
-- anew with each generation: a reader that finds its own generation with another stamp (a restored backup, a standby that
-- was behind) has another history, and reads everything.

CREATE TABLE policy_generation (
	id boolean PRIMARY KEY DEFAULT true CONSTRAINT policy_generation_one_row CHECK (id),
	generation bigint NOT NULL DEFAULT 1,
	stamp uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO policy_generation DEFAULT VALUES;

-- ids NULL: everything. No ids: nothing changed that a verdict reads.
CREATE FUNCTION policy_changed(table_name text, ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	now_at bigint;
	now_stamp uuid;
BEGIN
	IF cardinality(ids) = 0 THEN
		RETURN;
	END IF;
	INSERT INTO policy_generation AS g (id) VALUES (true)
		ON CONFLICT (id) DO UPDATE SET generation = g.generation + 1, stamp = gen_random_uuid()
		RETURNING g.generation, g.stamp INTO STRICT now_at, now_stamp;
	IF ids IS NULL OR cardinality(ids) > 100 THEN
		PERFORM pg_notify('gateway_policy', 'resync::' || now_at || ':' || now_stamp);
	ELSE
		PERFORM pg_notify('gateway_policy', table_name || ':' || array_to_string(ids, ',') || ':' || now_at || ':' || now_stamp);
	END IF;
END
$$;

CREATE FUNCTION policy_users_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		ids := ARRAY(SELECT id FROM new_rows ORDER BY id);
	ELSIF TG_OP = 'DELETE' THEN
		ids := ARRAY(SELECT id FROM old_rows ORDER BY id);
	ELSIF TG_OP = 'UPDATE' THEN
		ids := ARRAY(
			SELECT id FROM (
				(SELECT id, is_active, deleted_at FROM old_rows
					EXCEPT SELECT id, is_active, deleted_at FROM new_rows)
				UNION ALL
				(SELECT id, is_active, deleted_at FROM new_rows
					EXCEPT SELECT id, is_active, deleted_at FROM old_rows)
			) AS changed GROUP BY id ORDER BY id);
	END IF;
	PERFORM policy_changed('users', ids);
	RETURN NULL;
END
$$;

CREATE FUNCTION policy_api_keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
BEGIN
	IF TG_OP = 'INSERT' THEN
		ids := ARRAY(SELECT id FROM new_rows ORDER BY id);
	ELSIF TG_OP = 'DELETE' THEN
		ids := ARRAY(SELECT id FROM old_rows ORDER BY id);
	ELSIF TG_OP = 'UPDATE' THEN
		ids := ARRAY(
			SELECT id FROM (
				(SELECT id, user_id, key_hash, scopes, is_active, expires_at, revoked_at FROM old_rows
					EXCEPT SELECT id, user_id, key_hash, scopes, is_active, expires_at, revoked_at FROM new_rows)
				UNION ALL
				(SELECT id, user_id, key_hash, scopes, is_active, expires_at, revoked_at FROM new_rows
					EXCEPT SELECT id, user_id, key_hash, scopes, is_active, expires_at, revoked_at FROM old_rows)
			) AS changed GROUP BY id ORDER BY id);
	END IF;
	PERFORM policy_changed('api_keys', ids);
	RETURN NULL;
END
$$;

CREATE TRIGGER policy_insert AFTER INSERT ON users REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_users_changed();
CREATE TRIGGER policy_update AFTER UPDATE ON users REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_users_changed();
CREATE TRIGGER policy_delete AFTER DELETE ON users REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_users_changed();
CREATE TRIGGER policy_truncate AFTER TRUNCATE ON users
	FOR EACH STATEMENT EXECUTE FUNCTION policy_users_changed();

CREATE TRIGGER policy_insert AFTER INSERT ON api_keys REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_api_keys_changed();
CREATE TRIGGER policy_update AFTER UPDATE ON api_keys REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_api_keys_changed();
CREATE TRIGGER policy_delete AFTER DELETE ON api_keys REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION policy_api_keys_changed();
CREATE TRIGGER policy_truncate AFTER TRUNCATE ON api_keys
	FOR EACH STATEMENT EXECUTE FUNCTION policy_api_keys_changed();
