#include "store/admin_allow.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"
#include "store/admin_user.h"

/* Of w (a row of ip_whitelist) and u (its user); what is left of the list comes after them. */
#define ALLOW_COLUMNS "w.id, w.user_id, u.username, w.ip_cidr::text, w.description, " ADMIN_UTC("w.created_at")

/* How many blocks a refusal names. */
#define NAMED_MAX 10

void admin_allows_free(struct admin_allows *list)
{
	free(list->items);
	pg_result_free(list->rows);
	memset(list, 0, sizeof(*list));
}

/* Clears the bits behind the length; whether one was set. */
static bool clear_host_bits(uint8_t *addr, size_t bytes, unsigned length)
{
	bool any = false;

	for (size_t i = 0; i < bytes; i++) {
		unsigned kept = length > i * 8 ? length - (unsigned)i * 8 : 0;
		uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00u >> kept);
		any = any || (addr[i] & ~mask) != 0;
		addr[i] &= mask;
	}
	return any;
}

enum err admin_allow_block(const char *text, char block[ADMIN_BLOCK_MAX], char *error)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char plain[INET6_ADDRSTRLEN];
	struct sv length_text = sv_str(text), address = { 0 };
	uint8_t addr[16];

	(void)sv_split(&length_text, '/', &address);
	int family = memchr(address.p, ':', address.n) != NULL ? AF_INET6 : AF_INET;
	unsigned bits = family == AF_INET6 ? 128 : 32;
	uint64_t length = bits;
	if (sv_copy(address, plain, sizeof(plain)) != ERR_OK || inet_pton(family, plain, addr) != 1)
		return admin_fail(error, ERR_INVALID,
		                  "\"%s\" is no address block (such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32)", text);
	if (length_text.p != NULL && (sv_to_u64(length_text, &length) != ERR_OK || length > bits))
		return admin_fail(error, ERR_INVALID, "\"%s\": the length behind the / is a number from 0 to %u", text,
		                  bits);
	if (family == AF_INET6 && length >= 96 && memcmp(addr, mapped, sizeof(mapped)) == 0) {
		memmove(addr, addr + sizeof(mapped), 4);
		family = AF_INET;
		length -= 96;
	}
	bool host_bits = clear_host_bits(addr, family == AF_INET6 ? 16 : 4, (unsigned)length);
	CHECK(inet_ntop(family, addr, plain, sizeof(plain)) != NULL);
	snprintf(block, ADMIN_BLOCK_MAX, "%s/%u", plain, (unsigned)length);
	if (host_bits)
		return admin_fail(error, ERR_INVALID, "%s: bits behind the length are set; did you mean %s?", text,
		                  block);
	return ERR_OK;
}

/* Runs a statement that gives ALLOW_COLUMNS and what is left of the list; $1 is the user's id. */
static enum err allows_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_allows *out, char *error)
{
	char id[ADMIN_ID_MAX];

	memset(out, 0, sizeof(*out));
	enum err err = admin_user_id(db, user, id, error);
	if (err != ERR_OK)
		return err;
	params[0] = id;
	err = pg_sync_exec(db, sql, nparams, params, &out->rows);
	params[0] = NULL;
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	out->count = pg_result_rows(out->rows);
	out->items = check_calloc(out->count + 1, sizeof(*out->items));
	for (size_t i = 0; i < out->count && err == ERR_OK; i++) {
		struct admin_allow *a = &out->items[i];
		err = pg_result_u64(out->rows, i, 0, &a->id);
		if (err == ERR_OK)
			err = pg_result_u64(out->rows, i, 1, &a->user_id);
		if (err == ERR_OK)
			err = pg_result_u64(out->rows, i, 6, &out->left);
		a->username = pg_result_value(out->rows, i, 2).p;
		a->cidr = pg_result_value(out->rows, i, 3).p;
		a->description = pg_result_value(out->rows, i, 4).p;
		a->created_at = pg_result_value(out->rows, i, 5).p;
	}
	if (err != ERR_OK) {
		admin_allows_free(out);
		return admin_fail(error, err, "database: unexpected value in table ip_whitelist");
	}
	return ERR_OK;
}

enum err admin_allow_add(struct pg_sync *db, const char *user, const char *block, const char *description,
                         struct admin_allows *out, char *error)
{
	char cidr[ADMIN_BLOCK_MAX];
	const char *params[] = { NULL, cidr, description };

	memset(out, 0, sizeof(*out));
	enum err err = admin_allow_block(block, cidr, error);
	if (err != ERR_OK)
		return err;
	err = allows_query(db, user,
	                   ADMIN_LIVING_USER "w AS (INSERT INTO ip_whitelist (user_id, ip_cidr, description) "
	                                     "SELECT u.id, $2::cidr, $3 FROM u RETURNING *) "
	                                     "SELECT " ALLOW_COLUMNS ", 0 FROM w JOIN u ON u.id = w.user_id",
	                   3, params, out, error);
	if (err == ERR_EXISTS)
		return admin_fail(error, err, "%s is on the list of \"%s\" already", cidr, user);
	if (err == ERR_OK && out->count != 1) {
		admin_allows_free(out);
		err = admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", user);
	}
	return err;
}

enum err admin_allow_list(struct pg_sync *db, const char *user, struct admin_allows *out, char *error)
{
	const char *params[] = { NULL };

	return allows_query(db, user,
	                    "SELECT " ALLOW_COLUMNS ", 0 FROM ip_whitelist w JOIN users u ON u.id = w.user_id "
	                    "WHERE w.user_id = $1 ORDER BY w.ip_cidr",
	                    1, params, out, error);
}

/* The sentence for a block that is not there; it names those that are. */
static enum err not_on_the_list(struct pg_sync *db, const char *user, const char *block, char *error)
{
	char names[NAMED_MAX * (ADMIN_BLOCK_MAX + 2) + 8] = "";
	struct admin_allows list;
	size_t n = 0;

	enum err err = admin_allow_list(db, user, &list, error);
	if (err != ERR_OK)
		return err;
	for (size_t i = 0; i < list.count && i < NAMED_MAX; i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i > 0 ? ", " : "", list.items[i].cidr);
	if (list.count > NAMED_MAX)
		snprintf(names + n, sizeof(names) - n, ", …");
	bool empty = list.count == 0;
	admin_allows_free(&list);
	return admin_fail(error, ERR_NOT_FOUND, "%s is not on the list of \"%s\", which %s%s", block, user,
	                  empty ? "is empty" : "has ", names);
}

enum err admin_allow_remove(struct pg_sync *db, const char *user, const char *block, struct admin_allows *out,
                            char *error)
{
	char cidr[ADMIN_BLOCK_MAX];
	const char *params[] = { NULL, cidr };

	memset(out, 0, sizeof(*out));
	enum err err = admin_allow_block(block, cidr, error);
	if (err != ERR_OK)
		return err;
	/* The count sees the list as it was before the removal. */
	err = allows_query(db, user,
	                   ADMIN_LIVING_USER "w AS (DELETE FROM ip_whitelist d USING u "
	                                     "WHERE d.user_id = u.id AND d.ip_cidr = $2::cidr RETURNING d.*) "
	                                     "SELECT " ALLOW_COLUMNS
	                                     ", (SELECT count(*) FROM ip_whitelist a WHERE a.user_id = u.id) - 1 "
	                                     "FROM w JOIN u ON u.id = w.user_id",
	                   2, params, out, error);
	if (err == ERR_OK && out->count != 1) {
		admin_allows_free(out);
		err = not_on_the_list(db, user, cidr, error);
	}
	return err;
}
