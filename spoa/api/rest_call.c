#include "api/rest_call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"

/* Which field of a body a rule of the migrations is about. */
static const struct {
	const char *constraint;
	const char *field;
} rules[] = {
	{ "api_keys_name_length", "name" },
	{ "backends_name_grammar", "name" },
	{ "backends_name_unique", "name" },
	{ "backends_url_grammar", "url" },
	{ "backends_weight_range", "weight" },
	{ "ip_whitelist_description_length", "description" },
	{ "allowed_sources_description_length", "description" },
	{ "allowed_sources_prefix_grammar", "prefix" },
	{ "allowed_sources_prefix_length", "prefix" },
	{ "allowed_sources_unique", "prefix" },
	{ "users_email_grammar", "email" },
	{ "users_email_unique", "email" },
	{ "users_username_grammar", "username" },
	{ "users_username_unique", "username" },
};

struct pg_sync *rest_connection(struct rest_db_call *c)
{
	if (c->db == NULL)
		c->db = c->open(c->open_arg);
	if (c->db == NULL)
		rest_deny(c, PROBLEM_UNAVAILABLE, "The database cannot be reached at the moment. Try again.");
	return c->db;
}

void rest_reply(struct rest_db_call *c, unsigned status, json_t *json)
{
	CHECK(!c->refused && c->status == 0);
	c->status = status;
	c->json = json;
}

void rest_deny(struct rest_db_call *c, enum problem problem, const char *fmt, ...)
{
	va_list ap;

	if (c->refused)
		return;
	c->refused = true;
	c->problem = problem;
	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
	va_end(ap);
	/* A sentence that was cut within a character, or repeats what is no text. */
	json_t *text = json_string(c->detail);
	if (text == NULL)
		for (char *p = c->detail; *p != '\0'; p++)
			if ((unsigned char)*p >= 0x80)
				*p = '?';
	json_decref(text);
}

static const char *field_of(const struct rest_db_call *c)
{
	const char *constraint = c->db != NULL ? pg_sync_constraint(c->db) : "";

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (strcmp(constraint, rules[i].constraint) == 0)
			return rules[i].field;
	return NULL;
}

/* "there is no user 7" as "There is no user 7." */
static void refuse_sentence(struct rest_db_call *c, enum problem problem, const char *error)
{
	const char *field = problem == PROBLEM_NOT_FOUND ? NULL : field_of(c);
	char first = error[0] >= 'a' && error[0] <= 'z' ? (char)(error[0] - 'a' + 'A') : error[0];

	if (field != NULL)
		rest_deny(c, problem, "%s: %s.", field, error);
	else
		rest_deny(c, problem, "%c%s.", first, error + 1);
}

void rest_fail(struct rest_db_call *c, enum err err, const char *error)
{
	char value[512];

	switch (err) {
	case ERR_NOT_FOUND:
	case ERR_BAD_STATE:
		refuse_sentence(c, PROBLEM_NOT_FOUND, error);
		break;
	case ERR_EXISTS:
		refuse_sentence(c, PROBLEM_CONFLICT, error);
		break;
	case ERR_INVALID:
		refuse_sentence(c, PROBLEM_BAD_REQUEST, error);
		break;
	default:
		c->lost = err == ERR_CLOSED;
		log_error("rest: the database did not do it: method=%s route=%s request_id=%s error=\"%s\"",
		          c->route->method, c->route->path, c->request_id, log_value(value, sizeof(value), error));
		rest_deny(c, PROBLEM_UNAVAILABLE, "The database did not do it. Try again.");
		break;
	}
}

json_t *rest_list(const char *name, json_t *list)
{
	json_t *v = json_object();

	CHECK(v != NULL && json_object_set_new(v, name, list) == 0);
	return v;
}
