#include "store/admin_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"
#include "store/admin_effective.h"

#define THOUSAND 1000

json_t *admin_json_text(const char *text)
{
	if (text == NULL)
		return json_null();
	json_t *v = json_string(text);
	if (v != NULL)
		return v;
	char *ascii = strdup(text);
	CHECK(ascii != NULL);
	for (char *p = ascii; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	v = json_string(ascii);
	free(ascii);
	CHECK(v != NULL);
	return v;
}

json_t *admin_json_names(const char *const *names, size_t count, unsigned set)
{
	json_t *v = json_array();

	for (size_t i = 0; i < count; i++)
		if ((set & 1u << i) != 0)
			json_array_append_new(v, json_string(names[i]));
	return v;
}

json_t *admin_json_percent(uint64_t used, uint64_t limit)
{
	if (limit == 0)
		return json_null();
	if (used > INT64_MAX / 100)
		used = INT64_MAX / 100;
	return json_integer((json_int_t)(used * 100 / limit));
}

json_t *admin_json_user(const struct admin_user *u)
{
	json_t *v = json_pack("{s:I, s:o, s:o, s:b, s:o, s:o}", "id", (json_int_t)u->id, "username",
	                      admin_json_text(u->username), "email", admin_json_text(u->email), "is_active",
	                      (int)u->is_active, "created_at", admin_json_text(u->created_at), "updated_at",
	                      admin_json_text(u->updated_at));

	CHECK(v != NULL);
	if (u->deleted_at != NULL)
		json_object_set_new(v, "deleted_at", admin_json_text(u->deleted_at));
	return v;
}

static json_t *scopes_json(const char *list)
{
	json_t *v = json_array();
	struct sv rest = sv_str(list), part;

	while (rest.n > 0 && sv_split(&rest, ',', &part))
		json_array_append_new(v, json_stringn(part.p, part.n));
	return v;
}

json_t *admin_json_key(const struct admin_key *k)
{
	json_t *v = json_pack(
	        "{s:I, s:o, s:I, s:o, s:o, s:s, s:o, s:b, s:b, s:o, s:o, s:o, s:o}", "id", (json_int_t)k->id, "user",
	        admin_json_text(k->username), "user_id", (json_int_t)k->user_id, "name", admin_json_text(k->name),
	        "scopes", scopes_json(k->scopes), "state", k->state, "replaced_by",
	        k->replaced_by != 0 ? json_integer((json_int_t)k->replaced_by) : json_null(), "is_active",
	        (int)k->is_active, "signing", (int)k->signing, "created_at", admin_json_text(k->created_at),
	        "last_used_at", admin_json_text(k->last_used_at), "expires_at", admin_json_text(k->expires_at),
	        "revoked_at", admin_json_text(k->revoked_at));

	CHECK(v != NULL);
	return v;
}

json_t *admin_json_keys(const struct admin_keys *list)
{
	json_t *v = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(v, admin_json_key(&list->items[i]));
	return v;
}

json_t *admin_json_limits(const struct settings *s, const struct admin_limits *l)
{
	static const char *const names[] = { "requests_per_minute", "requests_per_hour" };
	unsigned defaults = (l->per_minute.own ? 0 : 1u) | (l->per_hour.own ? 0 : 2u);
	unsigned shadow = (l->shadow_minute ? ADMIN_SHADOW_MINUTE : 0u) | (l->shadow_hour ? ADMIN_SHADOW_HOUR : 0u);
	struct admin_limits_effective e;

	admin_limits_effective(s, l, &e);
	json_t *v = json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "user", admin_json_text(l->username), "user_id",
	                      (json_int_t)l->user_id, names[0], (json_int_t)e.per_minute, names[1],
	                      (json_int_t)e.per_hour, "burst", (json_int_t)e.burst, "shadow",
	                      admin_json_names(admin_limits_shadows, ADMIN_SHADOWS, shadow), "defaults",
	                      admin_json_names(names, 2, defaults));
	CHECK(v != NULL);
	return v;
}

json_t *admin_json_quotas(const struct settings *s, const struct admin_quotas *q)
{
	static const char *const names[] = { "monthly_requests", "monthly_bandwidth_mb", "storage_mb" };
	unsigned defaults = (q->requests.own ? 0 : 1u) | (q->bandwidth_mb.own ? 0 : 2u) | (q->storage_mb.own ? 0 : 4u);
	unsigned shadow = (q->shadow_requests ? ADMIN_SHADOW_REQUESTS : 0u) |
	                  (q->shadow_bandwidth ? ADMIN_SHADOW_BANDWIDTH : 0u);
	struct admin_quotas_effective e;

	admin_quotas_effective(s, q, &e);
	json_t *v = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "user",
	                      admin_json_text(q->username), "user_id", (json_int_t)q->user_id, names[0],
	                      (json_int_t)e.requests, names[1], (json_int_t)e.bandwidth_mb, names[2],
	                      (json_int_t)e.storage_mb, "reset_day", (json_int_t)e.reset_day, "current_requests",
	                      (json_int_t)q->current_requests, "current_bandwidth_mb",
	                      (json_int_t)q->current_bandwidth_mb, "reset_at", e.reset_at, "shadow",
	                      admin_json_names(admin_quotas_shadows, ADMIN_SHADOWS, shadow), "defaults",
	                      admin_json_names(names, 3, defaults));
	CHECK(v != NULL);
	return v;
}

static json_t *bound_json(enum admin_image_bound bound, uint64_t value)
{
	if (bound == ADMIN_IMAGE_EXPIRES)
		return json_boolean(value != 0);
	if (!admin_image_in_thousandths(bound))
		return json_integer((json_int_t)value);
	return value % THOUSAND == 0 ? json_integer((json_int_t)(value / THOUSAND))
	                             : json_real((double)value / THOUSAND);
}

json_t *admin_json_images(const struct settings *s, const struct admin_images *i)
{
	json_t *v = json_pack("{s:o, s:I}", "user", admin_json_text(i->username), "user_id", (json_int_t)i->user_id);
	json_t *presets = json_array();
	struct sv rest = sv_str(i->presets), name;
	struct admin_images_effective e;
	unsigned defaults = 0;

	CHECK(v != NULL && presets != NULL);
	admin_images_effective(s, i, &e);
	for (size_t k = 0; k < ADMIN_IMAGE_BOUNDS; k++) {
		json_object_set_new(v, admin_image_names[k], bound_json((enum admin_image_bound)k, e.value[k]));
		defaults |= e.number[k].own ? 0 : 1u << k;
	}
	while (sv_split(&rest, ',', &name))
		json_array_append_new(presets, json_stringn(name.p, name.n));
	json_object_set_new(v, "presets", presets);
	json_object_set_new(v, "defaults", admin_json_names(admin_image_names, ADMIN_IMAGE_BOUNDS, defaults));
	return v;
}

json_t *admin_json_allow(const struct admin_allow *a)
{
	json_t *v = json_pack("{s:I, s:o, s:I, s:o, s:o, s:o}", "id", (json_int_t)a->id, "user",
	                      admin_json_text(a->username), "user_id", (json_int_t)a->user_id, "cidr",
	                      admin_json_text(a->cidr), "description", admin_json_text(a->description), "created_at",
	                      admin_json_text(a->created_at));

	CHECK(v != NULL);
	return v;
}

json_t *admin_json_allows(const struct admin_allows *list)
{
	json_t *v = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(v, admin_json_allow(&list->items[i]));
	return v;
}

json_t *admin_json_source(const struct admin_source *s)
{
	json_t *v = json_pack("{s:I, s:o, s:I, s:o, s:o, s:o}", "id", (json_int_t)s->id, "user",
	                      admin_json_text(s->username), "user_id", (json_int_t)s->user_id, "prefix",
	                      admin_json_text(s->prefix), "description", admin_json_text(s->description), "created_at",
	                      admin_json_text(s->created_at));

	CHECK(v != NULL);
	return v;
}

json_t *admin_json_sources(const struct admin_sources *list)
{
	json_t *v = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(v, admin_json_source(&list->items[i]));
	return v;
}

json_t *admin_json_backend(const struct admin_backend *b)
{
	json_t *v = json_pack("{s:I, s:o, s:o, s:I, s:o}", "id", (json_int_t)b->id, "name", admin_json_text(b->name),
	                      "url", admin_json_text(b->url), "weight", (json_int_t)b->weight, "created_at",
	                      admin_json_text(b->created_at));

	CHECK(v != NULL);
	return v;
}

json_t *admin_json_backends(const struct admin_backends *list)
{
	json_t *v = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(v, admin_json_backend(&list->items[i]));
	return v;
}
