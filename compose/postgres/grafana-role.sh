#!/bin/sh
# Runs at each start, when the schema is there: Grafana's role, which may read three views and nothing else.
set -eu

PGPASSWORD=$(cat /run/secrets/postgres_password)
export PGPASSWORD
exec psql -v ON_ERROR_STOP=1 --no-psqlrc -q -h postgres -U postgres -d imgproxy_gateway <<'SQL'
\set password `cat /run/secrets/grafana_db_password`
SELECT 'CREATE ROLE grafana LOGIN' WHERE to_regrole('grafana') IS NULL \gexec
ALTER ROLE grafana PASSWORD :'password';
GRANT SELECT ON usage_by_user_month, usage_by_user_day, top_users TO grafana;
SQL
