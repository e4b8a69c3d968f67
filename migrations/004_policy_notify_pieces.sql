-- A statement that changes many rows is told in pieces of 100 ids, each with a generation of its own, so that the agents
-- read those rows instead of everything. Beyond 10,000 reading everything takes less.
CREATE OR REPLACE FUNCTION policy_changed(table_name text, ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	now_at bigint;
	now_stamp uuid;
	many boolean := ids IS NULL OR cardinality(ids) > 10000;
	pieces int := CASE WHEN many THEN 1 ELSE (cardinality(ids) + 99) / 100 END;
BEGIN
	FOR piece IN 1..pieces LOOP
		INSERT INTO policy_generation AS g (id) VALUES (true)
			ON CONFLICT (id) DO UPDATE SET generation = g.generation + 1, stamp = gen_random_uuid()
			RETURNING g.generation, g.stamp INTO STRICT now_at, now_stamp;
		IF many THEN
			PERFORM pg_notify('gateway_policy', 'resync::' || now_at || ':' || now_stamp);
		ELSE
			PERFORM pg_notify('gateway_policy', table_name || ':' ||
				array_to_string(ids[piece * 100 - 99:piece * 100], ',') || ':' || now_at || ':' || now_stamp);
		END IF;
	END LOOP;
END
$$;
