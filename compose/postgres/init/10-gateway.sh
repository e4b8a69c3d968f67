#!/bin/sh
# Runs once, when the database is made: a role that is no superuser, and the gateway's database, which it owns.
set -eu

psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\set password `cat /run/secrets/db_password`
CREATE ROLE imgproxy LOGIN PASSWORD :'password';
CREATE DATABASE imgproxy_gateway OWNER imgproxy;
SQL
