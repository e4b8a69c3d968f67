#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "base/sv.h"
#include "store/admin_json.h"

void rest_allow_list(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_allows list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_allow_list(c->db, c->params[0], &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, rest_list("allow", admin_json_allows(&list)));
	admin_allows_free(&list);
}

void rest_allow_add(struct rest_db_call *c)
{
	static const char *const fields[] = { "cidr", "description", NULL };
	char error[ADMIN_ERROR_MAX], block[ADMIN_BLOCK_MAX];
	const char *cidr, *description;
	struct admin_allows list;

	if (!rest_fields(c, fields) || !rest_text(c, "cidr", REST_REQUIRED, &cidr) ||
	    !rest_text(c, "description", REST_OPTIONAL, &description))
		return;
	if (admin_allow_block(cidr, block, error) != ERR_OK) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "cidr: %s.", error);
		return;
	}
	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_allow_add(c->db, c->params[0], block, description, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	snprintf(c->location, sizeof(c->location), "/api/v1/users/%s/allow/%" PRIu64, c->params[0], list.items[0].id);
	rest_reply(c, 201, admin_json_allow(&list.items[0]));
	admin_allows_free(&list);
}

/* The block of an entry's id, of that user's list; "" when there is none. */
static enum err block_of(struct rest_db_call *c, uint64_t id, char block[ADMIN_BLOCK_MAX], char *error)
{
	struct admin_allows list;

	block[0] = '\0';
	enum err err = admin_allow_list(c->db, c->params[0], &list, error);
	if (err != ERR_OK)
		return err;
	for (size_t i = 0; i < list.count; i++)
		if (list.items[i].id == id)
			snprintf(block, ADMIN_BLOCK_MAX, "%s", list.items[i].cidr);
	admin_allows_free(&list);
	return block[0] != '\0' ? ERR_OK
	                        : admin_fail(error, ERR_NOT_FOUND, "the list of user %s has no entry %" PRIu64,
	                                     c->params[0], id);
}

void rest_allow_remove(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX], block[ADMIN_BLOCK_MAX];
	struct admin_allows list;
	uint64_t id;
	enum err err = ERR_OK;

	/* No address is a number alone. */
	bool is_id = sv_to_u64(sv_str(c->params[1]), &id) == ERR_OK;
	if (!is_id && admin_allow_block(c->params[1], block, error) != ERR_OK) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "cidr: %s.", error);
		return;
	}
	if (rest_connection(c) == NULL)
		return;
	if (is_id)
		err = block_of(c, id, block, error);
	if (err == ERR_OK)
		err = admin_allow_remove(c->db, c->params[0], block, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	admin_allows_free(&list);
	rest_reply(c, 204, NULL);
}
