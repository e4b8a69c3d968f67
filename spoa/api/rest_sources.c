#include <inttypes.h>
#include <stdio.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "base/sv.h"
#include "imgurl/source.h"
#include "store/admin_json.h"

void rest_sources_list(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_sources list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_source_list(c->db, c->params[0], &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, rest_list("sources", admin_json_sources(&list)));
	admin_sources_free(&list);
}

/* The canonical form of a prefix. Refuses what is none. */
static bool take_prefix(struct rest_db_call *c, const char *text, char prefix[IMGURL_SOURCE_MAX + 1])
{
	char room[IMGURL_SOURCE_MAX];
	struct sv canonical;
	const char *why = "";

	if (imgurl_source_canonical(sv_str(text), room, sizeof(room), &canonical, &why) == ERR_OK &&
	    sv_copy(canonical, prefix, IMGURL_SOURCE_MAX + 1) == ERR_OK)
		return true;
	rest_deny(c, PROBLEM_BAD_REQUEST,
	          "prefix: this is no prefix of remote sources (such as https://cdn.example.com/images/): %s.", why);
	return false;
}

void rest_sources_add(struct rest_db_call *c)
{
	static const char *const fields[] = { "prefix", "description", NULL };
	char error[ADMIN_ERROR_MAX], prefix[IMGURL_SOURCE_MAX + 1];
	const char *text, *description;
	struct admin_sources list;

	if (!rest_fields(c, fields) || !rest_text(c, "prefix", REST_REQUIRED, &text) ||
	    !rest_text(c, "description", REST_OPTIONAL, &description) || !take_prefix(c, text, prefix) ||
	    rest_connection(c) == NULL)
		return;
	enum err err = admin_source_add(c->db, c->params[0], prefix, description, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	snprintf(c->location, sizeof(c->location), "/api/v1/users/%s/sources/%" PRIu64, c->params[0], list.items[0].id);
	rest_reply(c, 201, admin_json_source(&list.items[0]));
	admin_sources_free(&list);
}

/* The rest of the path is an entry's id, or its prefix. */
void rest_sources_remove(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX], prefix[IMGURL_SOURCE_MAX + 1];
	struct admin_sources list;
	uint64_t id = 0;
	bool by_id = sv_to_u64(sv_str(c->params[1]), &id) == ERR_OK;

	if ((!by_id && !take_prefix(c, c->params[1], prefix)) || rest_connection(c) == NULL)
		return;
	enum err err = admin_source_remove(c->db, c->params[0], by_id ? NULL : prefix, id, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	admin_sources_free(&list);
	rest_reply(c, 204, NULL);
}
