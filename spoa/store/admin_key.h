/*
 * API keys, as an operator handles them. Errors as in store/admin_user.h; ERR_NOT_FOUND is also an unknown key. The
 * key itself exists only in the answer of admin_key_create(): the database holds its hash (policy/key.h). Its signing
 * key, if it has one, lies there sealed (policy/sealed.h), and nothing of it is ever shown again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hex.h"
#include "io/pg_sync.h"
#include "policy/key.h"
#include "policy/sealed.h"
#include "store/admin_error.h"

/* The texts belong to the list that the key is in; times as in store/admin_user.h, NULL when there is none. */
struct admin_key {
	uint64_t id;
	uint64_t user_id;
	const char *username;
	const char *name;     /* NULL: none */
	const char *scopes;   /* comma list */
	const char *state;    /* "active", "rotated", "inactive", "expired" or "revoked"; says nothing about the user */
	uint64_t replaced_by; /* the key that took over, 0: none. "rotated": it has, and this one passes until it
	                         expires */
	bool is_active;
	bool signing; /* it has a signing key */
	const char *created_at;
	const char *last_used_at;
	const char *expires_at;
	const char *revoked_at;
};

struct admin_keys {
	struct admin_key *items;
	size_t count;
	struct pg_result *rows;
};

void admin_keys_free(struct admin_keys *list);

struct admin_key_wish {
	const char *user;
	const char *name;    /* NULL: none */
	uint32_t scopes;     /* policy/scope.h, at least one */
	uint64_t lifetime_s; /* 0: never expires */
	bool signing;        /* with a signing key; then there must be a sealer */
};

/* What keys are made with; from the settings. */
struct admin_key_maker {
	const char *pepper;
	struct sealer *sealer; /* NULL: no signing keys can be made */
};

/* The only copy: show it and wipe it. */
struct admin_key_secrets {
	char text[KEY_TEXT_MAX];
	char signing_key[HEX_SIZE(SIGNING_SIZE)];  /* as imgproxy's clients take it; "" without one */
	char signing_salt[HEX_SIZE(SIGNING_SIZE)]; /* likewise */
};

/* Makes a key. On a failure *secrets is zeros. */
MUST_CHECK enum err admin_key_create(struct pg_sync *db, const struct admin_key_maker *maker,
                                     const struct admin_key_wish *wish, struct admin_key_secrets *secrets,
                                     struct admin_keys *out, char *error);

/*
 * Makes a key with the user, name, scopes and expiry of key `id`, which ends in grace_s seconds (or when it would have
 * ended anyway), or at once (0: it is revoked). Of several rotations of a key at the same time one is done.
 * If the old one has a signing key, the new one gets another. ERR_BAD_STATE is also a key that passes no more, or was
 * rotated before, and ERR_UNSUPPORTED one with a signing key while there is no sealer. out->items[0] is the new key,
 * [1] the old one; *secrets as above.
 */
MUST_CHECK enum err admin_key_rotate(struct pg_sync *db, const struct admin_key_maker *maker, uint64_t id,
                                     uint64_t grace_s, struct admin_key_secrets *secrets, struct admin_keys *out,
                                     char *error);

/* The keys of a user, or all (user == NULL), by id. */
MUST_CHECK enum err admin_key_list(struct pg_sync *db, const char *user, struct admin_keys *out, char *error);

/* The key `id`, which must be the user's: ERR_NOT_FOUND. */
MUST_CHECK enum err admin_key_find(struct pg_sync *db, const char *user, uint64_t id, struct admin_keys *out,
                                   char *error);

/* Revokes for good; a key that was revoked before keeps its time. */
MUST_CHECK enum err admin_key_revoke(struct pg_sync *db, uint64_t id, struct admin_keys *out, char *error);
