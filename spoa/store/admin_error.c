#include "store/admin_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The names are those of the migrations. */
static const struct {
	const char *constraint;
	enum err err;
	const char *text;
} refusals[] = {
	{ "allowed_sources_description_length", ERR_INVALID, "a description has at most 1000 characters" },
	{ "allowed_sources_most", ERR_INVALID, "a user has at most 1000 allowed sources" },
	{ "allowed_sources_prefix_grammar", ERR_INVALID, "this is no prefix of a remote source in its canonical form" },
	{ "allowed_sources_prefix_length", ERR_INVALID, "a prefix has at most 512 bytes" },
	{ "allowed_sources_unique", ERR_EXISTS, "this prefix is on the user's list already" },
	{ "api_keys_name_length", ERR_INVALID, "a key's name has 1 to 255 characters" },
	{ "api_keys_scopes_known", ERR_INVALID, "the scopes of a key are read, upload and admin" },
	{ "image_policies_presets_grammar", ERR_INVALID, "the name of a preset has 1 to 64 of A-Z a-z 0-9 . _ -" },
	{ "image_policies_presets_most", ERR_INVALID, "a user has at most 100 presets" },
	{ "backends_name_grammar", ERR_INVALID,
	  "a backend's name has 1 to 255 of the characters A-Z a-z 0-9 . _ -, and starts with a letter or digit" },
	{ "backends_name_unique", ERR_EXISTS, "a backend of this name exists already" },
	{ "backends_url_grammar", ERR_INVALID,
	  "a backend's URL is http://HOST:PORT or https://HOST:PORT, without a path" },
	{ "backends_weight_range", ERR_INVALID, "a weight is a number from 0 to 256" },
	{ "ip_whitelist_description_length", ERR_INVALID, "a description has at most 1000 characters" },
	{ "ip_whitelist_unique", ERR_EXISTS, "this block is on the user's list already" },
	{ "users_email_grammar", ERR_INVALID, "this is no e-mail address (one @, no blanks, at most 254 characters)" },
	{ "users_email_unique", ERR_EXISTS, "this e-mail address belongs to another user" },
	{ "users_username_grammar", ERR_INVALID,
	  "a user's name has 1 to 255 of the characters A-Z a-z 0-9 . _ -, starts with a letter or digit, and is not "
	  "all "
	  "digits" },
	{ "users_username_unique", ERR_EXISTS, "a user of this name exists already" },
};

enum err admin_fail(char *error, enum err err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, ADMIN_ERROR_MAX, fmt, ap);
	va_end(ap);
	return err;
}

enum err admin_db_fail(const struct pg_sync *db, enum err err, char *error)
{
	const char *constraint = pg_sync_constraint(db);
	const char *state = pg_sync_sqlstate(db);

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (strcmp(constraint, refusals[i].constraint) == 0)
			return admin_fail(error, refusals[i].err, "%s", refusals[i].text);
	/* undefined_table, undefined_column */
	if (strcmp(state, "42P01") == 0 || strcmp(state, "42703") == 0)
		return admin_fail(error, err,
		                  "the database's schema is missing or old (run `gatewayctl migrate up`): %s",
		                  pg_sync_error(db));
	return admin_fail(error, err, "database: %s", pg_sync_error(db));
}
