/* The statements of usage_ship.c and usage_partitions.c; what they call is in migrations/005_usage.sql. */
#pragma once

#define USAGE_SQL_TIMEOUT_MS 60000

/*
 * The server gives up before the client does, so that a slow statement is an error and not a lost connection; and it
 * ends a transaction whose client it has lost, which would keep the agent's row locked. A commit is on the disk when it
 * is answered, whatever the server's default.
 */
#define SQL_OPEN                                                            \
	"SELECT set_config('statement_timeout', '50s', false), "            \
	"set_config('lock_timeout', '10s', false), "                        \
	"set_config('idle_in_transaction_session_timeout', '60s', false), " \
	"set_config('jit', 'off', false), "                                 \
	"CASE WHEN current_setting('synchronous_commit') = 'off' "          \
	"THEN set_config('synchronous_commit', 'on', false) END, "          \
	"usage_open()"
#define SQL_ENTER "INSERT INTO usage_positions (agent) VALUES ($1) ON CONFLICT DO NOTHING"
/* Locked also when it is only looked at: a transaction of a keeper that was killed may be about to commit. */
#define SQL_POSITION "SELECT segment, \"offset\" FROM usage_positions WHERE agent = $1 FOR UPDATE"
#define SQL_MAKE     "SELECT usage_partitions_make($1)"
#define SQL_DROP     "SELECT usage_partitions_drop($1)"
#define SQL_BEGIN    "BEGIN ISOLATION LEVEL READ COMMITTED"
#define SQL_COPY     "COPY usage_batch FROM STDIN"
#define SQL_SHIP     "SELECT usage_ship($1, $2, $3)"
#define SQL_COMMIT   "COMMIT"
#define SQL_ROLLBACK "ROLLBACK"
