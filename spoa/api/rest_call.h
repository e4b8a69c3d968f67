/*
 * What a handler of a route with the database gets and gives: one call, without HTTP. A handler checks what was asked
 * first (rest_fields.h), then takes a connection with rest_connection(), and answers with rest_reply() or rest_deny(),
 * once.
 *
 * Handlers run in a thread of the pool (api/pool.h) and may wait for PostgreSQL.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/problem.h"
#include "base/err.h"
#include "base/settings.h"
#include "io/pg_sync.h"

struct rest_db_call;

#define REST_PARAMS_MAX 2
#define REST_PARAM_MAX  1024
#define REST_ARGS_MAX   2
#define REST_ARG_MAX    64
#define REST_DETAIL_MAX 1200
#define REST_TARGET_MAX 1200
#define REST_BODY_MAX   (64 * 1024)
#define REST_PAGE       100u
#define REST_PAGE_MAX   1000u

/*
 * One method of one path. A word in braces stands for one segment of the path: {id} and {key} for a number, {name} for
 * any; {entry} is the whole rest of the path.
 */
struct rest_route {
	const char *method;
	const char *path;
	uint32_t scope; /* of policy/scope.h: what the key must have */
	enum { REST_NO_BODY = 0, REST_BODY, REST_MAY_HAVE_BODY } body;
	const char *args[REST_ARGS_MAX]; /* names of the query's arguments */
	void (*run)(struct rest_db_call *c);
};

struct rest_db_call {
	const struct rest_route *route;
	const struct settings *settings;
	char params[REST_PARAMS_MAX][REST_PARAM_MAX]; /* what stood in place of the words in braces, decoded */
	char args[REST_ARGS_MAX][REST_ARG_MAX];       /* by their place in the route; "" when not given */
	bool given[REST_ARGS_MAX];
	uint64_t user; /* who asks */
	uint64_t key;
	const char *request_id;             /* for lines of the log */
	json_t *body;                       /* an object; NULL: none was sent */
	struct pg_sync *(*open)(void *arg); /* a connection, or NULL */
	void *open_arg;
	struct pg_sync *db;
	bool lost; /* the connection broke under the handler */

	/* The answer: a problem, or a status with a document (NULL: none). */
	bool refused;
	enum problem problem;
	char detail[REST_DETAIL_MAX];
	unsigned status;
	json_t *json;
	char location[REST_TARGET_MAX]; /* of what was made; "": no such header */
};

/* The connection, or NULL; then the call has been refused. */
struct pg_sync *rest_connection(struct rest_db_call *c);

/* Takes the document over. */
void rest_reply(struct rest_db_call *c, unsigned status, json_t *json);
/* The first refusal is the one that is answered. */
void rest_deny(struct rest_db_call *c, enum problem problem, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/*
 * Refuses for an error of store/admin_*.h and its sentence: not found and deleted, conflicts, wrong values (naming the
 * field whose rule of the database it broke), everything else as unavailable, whose sentence goes into the log alone.
 */
void rest_fail(struct rest_db_call *c, enum err err, const char *error);

/* {NAME: list}; takes the list over. */
json_t *rest_list(const char *name, json_t *list);
