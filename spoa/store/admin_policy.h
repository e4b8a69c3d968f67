/*
 * The whole policy as one value: what `gatewayctl export` writes and `gatewayctl apply` sets. A file and the database
 * both become a struct admin_policy, all of whose values are texts in one canonical form each, so that comparing two of
 * them (admin_policy_compare(), no I/O) is comparing texts, and needs to know nothing of a field but its name.
 *
 * Errors of the functions that ask the database are as in store/admin_user.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "base/sv.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"
#include "store/admin_key.h"

#define ADMIN_POLICY_VERSION 1

/* ---- fields ---- */

/* Sections of a user. The fields of the first stand in the user itself, those of others below the section's name. */
enum admin_section { SECTION_USER = 0, SECTION_LIMIT, SECTION_QUOTA, SECTION_IMAGE, SECTIONS };
extern const char *const admin_section_names[SECTIONS];

/* How a field is written, and its canonical text. */
enum admin_kind {
	KIND_EMAIL = 0,
	KIND_BOOL,        /* true, false */
	KIND_SWITCH,      /* true, false, default */
	KIND_NUMBER,      /* least to most, or default */
	KIND_THOUSANDTHS, /* the same with up to three digits behind the point, without zeros at the end: 1.5 */
	KIND_NAMES,       /* a list of some of `names`, in their order: "minute,hour", or "none" */
	KIND_PRESETS,     /* a sorted list of presets: "a,b", or "none" */
};

enum admin_field {
	FIELD_EMAIL = 0,
	FIELD_DISABLED,
	FIELD_PER_MINUTE,
	FIELD_PER_HOUR,
	FIELD_BURST,
	FIELD_LIMIT_SHADOW,
	FIELD_REQUESTS,
	FIELD_BANDWIDTH_MB,
	FIELD_STORAGE_MB,
	FIELD_RESET_DAY,
	FIELD_QUOTA_SHADOW,
	FIELD_MAX_DIMENSION,
	FIELD_MAX_DPR,
	FIELD_MAX_ZOOM,
	FIELD_MAX_BLUR,
	FIELD_MAX_QUALITY,
	FIELD_REQUIRE_EXPIRES,
	FIELD_PRESETS,
	FIELDS,
};

struct admin_field_info {
	enum admin_section section;
	const char *name;
	enum admin_kind kind;
	uint64_t least;
	uint64_t most;
	const char *const *names; /* ADMIN_SHADOWS of them */
};
extern const struct admin_field_info admin_fields[FIELDS];

/* What a field is when nobody has set it; NULL: it has no such value (an e-mail address). */
const char *admin_field_default(enum admin_field field);

enum admin_key_field { KEY_NAME = 0, KEY_SCOPES, KEY_EXPIRES, KEY_DISABLED, KEY_SIGNING, KEY_FIELDS };
extern const char *const admin_key_fields[KEY_FIELDS];

#define ADMIN_KEY_NEVER "never" /* how KEY_EXPIRES says it; else 2026-01-31T12:00:00Z */

/* ---- a policy ---- */

/* A block of an allow list, or a prefix of remote sources. */
struct admin_policy_entry {
	uint64_t id; /* of the row */
	unsigned long line;
	const char *text;
	const char *description; /* "": none */
};

struct admin_policy_list {
	bool given;
	struct admin_policy_entry *items; /* sorted by text once the policy is whole */
	size_t count;
};

/* Fields that are not named are NULL; only the name may be NULL in a key of the database. */
struct admin_policy_key {
	uint64_t id; /* 0: none was given */
	unsigned long line;
	bool rotated; /* another key has replaced it, and it passes until it expires */
	const char *values[KEY_FIELDS];
};

struct admin_policy_keys {
	bool given;
	struct admin_policy_key *items; /* sorted by name and id once the policy is whole */
	size_t count;
};

struct admin_policy_user {
	unsigned long line; /* of the file */
	const char *name;
	const char *values[FIELDS]; /* NULL: not named */
	struct admin_policy_list allow;
	struct admin_policy_list sources;
	struct admin_policy_keys keys;
};

struct admin_policy_backend {
	unsigned long line;
	const char *name;
	const char *url;    /* NULL: not named */
	const char *weight; /* NULL: not named */
};

/* Starts as zeros. All texts belong to it. */
struct admin_policy {
	bool users_given;
	struct admin_policy_user *users; /* sorted by name once the policy is whole */
	size_t users_count;
	bool backends_given;
	struct admin_policy_backend *backends; /* likewise */
	size_t backends_count;
	char now[32]; /* of the database: when it was read, as 2026-01-31T12:00:00Z */
	struct admin_policy_texts *texts;
};

void admin_policy_free(struct admin_policy *p);
/* A copy that lives until all texts of the list (NULL at first) are freed; a policy frees its own. */
const char *admin_policy_text(struct admin_policy_texts **texts, struct sv text);
void admin_policy_texts_free(struct admin_policy_texts *texts);
/* One more, of zeros, at the end; what was there before may move. */
struct admin_policy_user *admin_policy_add_user(struct admin_policy *p);
struct admin_policy_backend *admin_policy_add_backend(struct admin_policy *p);
struct admin_policy_entry *admin_policy_add_entry(struct admin_policy_list *list);
struct admin_policy_key *admin_policy_add_key(struct admin_policy_keys *keys);
/* Sorts everything, which makes the policy whole. Equals are in the order of their lines. */
void admin_policy_sort(struct admin_policy *p);

/* ---- errors of a file ---- */

#define ADMIN_POLICY_ERRORS_MAX 20
#define ADMIN_POLICY_ERROR_MAX  512

/* What is wrong with a file: the first of it, and how much there is. */
struct admin_policy_errors {
	const char *file; /* its name, which stands in front of each */
	size_t count;     /* of all; those behind ADMIN_POLICY_ERRORS_MAX are not kept */
	char text[ADMIN_POLICY_ERRORS_MAX][ADMIN_POLICY_ERROR_MAX];
};

/* Adds "FILE:LINE: …", one line in any case. */
void admin_policy_error(struct admin_policy_errors *e, unsigned long line, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/* ---- differences ---- */

struct admin_policy_change {
	char how;         /* '+' added, '~' set, '-' removed */
	const char *what; /* "user", "limit", "quota", "image", "allow", "source", "key" or "backend" */
	const char *user; /* NULL: of a backend */
	const char *name; /* of the block, prefix, key (or its id) or backend; NULL: of the user itself */
	const char *field;
	const char *from; /* with '~' */
	const char *to;
};

/* The rows that are written, a list for each statement, in the order in which they are. */
enum admin_policy_rows {
	ROWS_USER_REMOVE = 0,
	ROWS_USER_SET,
	ROWS_USER_ADD,
	ROWS_LIMIT,
	ROWS_QUOTA,
	ROWS_IMAGE,
	ROWS_ALLOW_REMOVE,
	ROWS_ALLOW_SET,
	ROWS_ALLOW_ADD,
	ROWS_SOURCE_REMOVE,
	ROWS_SOURCE_SET,
	ROWS_SOURCE_ADD,
	ROWS_KEY_REMOVE,
	ROWS_KEY_SET,
	ROWS_KEY_ADD,
	ROWS_BACKEND_REMOVE,
	ROWS_BACKEND_SET,
	ROWS_BACKEND_ADD,
	ROWS,
};

struct admin_policy_diff {
	struct admin_policy_change *changes; /* by user, in the order of the names; then backends */
	size_t count;
	json_t *rows[ROWS]; /* arrays of objects */
	struct admin_policy_texts *texts;
};

/*
 * What has to be done for `have` (a whole policy of the database, with at least the users and backends that `want`
 * names) to become what `want` says: what it names is set, lists are replaced, and the rest stays. prune: what a list
 * of users, keys or backends in `want` leaves out goes. What cannot be done is added to `errors`. The texts in *out are
 * those of both policies; free it before them.
 */
void admin_policy_compare(const struct admin_policy *have, const struct admin_policy *want, bool prune,
                          struct admin_policy_errors *errors, struct admin_policy_diff *out);
void admin_policy_diff_free(struct admin_policy_diff *d);

/* ---- the database ---- */

/*
 * Reads the users (all, or those of the array literal `names` of PostgreSQL) that are not deleted, with all they have,
 * and all backends. Keys that were revoked are not among it. Several statements: they are of one moment only in a
 * transaction that makes them so.
 */
MUST_CHECK enum err admin_policy_load(struct pg_sync *db, const char *names, struct admin_policy *out, char *error);

/* A key that was made. */
struct admin_policy_new_key {
	uint64_t id;
	const char *user;
	const char *name;
	struct admin_key_secrets secrets;
};

struct admin_policy_result {
	struct admin_policy have;
	struct admin_policy_diff diff;
	struct admin_policy_new_key *keys; /* the only copy */
	size_t keys_count;
};

/* Wipes the secrets. */
void admin_policy_result_free(struct admin_policy_result *r);

struct admin_policy_job {
	const struct admin_policy *want;
	bool prune;
	bool dry_run;                        /* does all of it, and undoes it */
	const struct admin_key_maker *maker; /* NULL: keys cannot be made, for the reason below */
	const char *no_maker;
	/*
	 * Called once before the end of a transaction that made keys, never in a dry run: what keeps them, or an error,
	 * with a sentence, and then nothing has happened. May be NULL.
	 */
	enum err (*keep)(const struct admin_policy_result *r, void *arg, char *error);
	void *arg;
};

/*
 * Makes the database what job->want says, in one transaction, of which there is one at a time. ERR_INVALID with an
 * empty `error`: what cannot be done stands in `errors`. On success *out is freed by the caller.
 */
MUST_CHECK enum err admin_policy_apply(struct pg_sync *db, const struct admin_policy_job *job,
                                       struct admin_policy_errors *errors, struct admin_policy_result *out,
                                       char *error);
