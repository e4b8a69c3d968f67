#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "store/admin_policy.h"
#include "store/admin_user.h"

struct comparison {
	const struct admin_policy *have;
	bool prune;
	struct admin_policy_errors *errors;
	struct admin_policy_diff *out;
	size_t room;
};

static void add_change(struct comparison *c, struct admin_policy_change change)
{
	if (c->out->count == c->room) {
		c->room = c->room > 0 ? c->room * 2 : 64;
		c->out->changes = reallocarray(c->out->changes, c->room, sizeof(*c->out->changes));
		CHECK(c->out->changes != NULL);
	}
	c->out->changes[c->out->count++] = change;
}

/* A row of a list, to which its members are added. */
static json_t *add_row(struct comparison *c, enum admin_policy_rows rows)
{
	json_t *row = json_object();

	CHECK(row != NULL && json_array_append_new(c->out->rows[rows], row) == 0);
	return row;
}

static void put_text(json_t *row, const char *name, const char *text)
{
	json_t *value = text != NULL ? json_string(text) : json_null();

	/* Neither libyaml nor PostgreSQL lets through what is no UTF-8. */
	if (value == NULL)
		value = json_string("?");
	CHECK(json_object_set_new(row, name, value) == 0);
}

static void put_id(json_t *row, uint64_t id)
{
	CHECK(json_object_set_new(row, "id", json_integer((json_int_t)id)) == 0);
}

/* Whether the field is named, and otherwise than it is; then the change is added. */
static bool differs(struct comparison *c, struct admin_policy_change change)
{
	if (change.to == NULL || (change.from != NULL && strcmp(change.from, change.to) == 0))
		return false;
	change.how = '~';
	add_change(c, change);
	return true;
}

/* ---- what a user has one of ---- */

static void compare_section(struct comparison *c, enum admin_section section, enum admin_policy_rows rows,
                            const struct admin_policy_user *have, const struct admin_policy_user *want)
{
	bool changed = false;

	for (size_t f = 0; f < FIELDS; f++)
		if (admin_fields[f].section == section)
			changed |= differs(c, (struct admin_policy_change){ .what = admin_section_names[section],
			                                                    .user = want->name,
			                                                    .field = admin_fields[f].name,
			                                                    .from = have->values[f],
			                                                    .to = want->values[f] });
	if (!changed)
		return;
	json_t *row = add_row(c, rows);
	put_text(row, "user", want->name);
	for (size_t f = 0; f < FIELDS; f++)
		if (admin_fields[f].section == section)
			put_text(row, admin_fields[f].name,
			         want->values[f] != NULL ? want->values[f] : have->values[f]);
}

/* ---- lists ---- */

struct list_rows {
	const char *what;
	enum admin_policy_rows remove, set, add;
};

static void remove_entry(struct comparison *c, const struct list_rows *l, const char *user,
                         const struct admin_policy_entry *e)
{
	add_change(c, (struct admin_policy_change){ .how = '-', .what = l->what, .user = user, .name = e->text });
	put_id(add_row(c, l->remove), e->id);
}

static void add_entry(struct comparison *c, const struct list_rows *l, const char *user,
                      const struct admin_policy_entry *e)
{
	add_change(c, (struct admin_policy_change){ .how = '+', .what = l->what, .user = user, .name = e->text });
	json_t *row = add_row(c, l->add);
	put_text(row, "user", user);
	put_text(row, "entry", e->text);
	put_text(row, "description", e->description);
}

static void set_entry(struct comparison *c, const struct list_rows *l, const char *user,
                      const struct admin_policy_entry *have, const struct admin_policy_entry *want)
{
	if (!differs(c, (struct admin_policy_change){ .what = l->what,
	                                              .user = user,
	                                              .name = want->text,
	                                              .field = "description",
	                                              .from = have->description,
	                                              .to = want->description }))
		return;
	json_t *row = add_row(c, l->set);
	put_id(row, have->id);
	put_text(row, "description", want->description);
}

/* Both are sorted. */
static void compare_lists(struct comparison *c, const struct list_rows *l, const char *user,
                          const struct admin_policy_list *have, const struct admin_policy_list *want)
{
	size_t h = 0, w = 0;

	while (want->given && (h < have->count || w < want->count)) {
		int order = h == have->count   ? 1
		            : w == want->count ? -1
		                               : strcmp(have->items[h].text, want->items[w].text);
		if (order < 0)
			remove_entry(c, l, user, &have->items[h]);
		else if (order > 0)
			add_entry(c, l, user, &want->items[w]);
		else
			set_entry(c, l, user, &have->items[h], &want->items[w]);
		h += order <= 0;
		w += order >= 0;
	}
}

/* ---- keys ---- */

/* Keys that the database has, to be found by id. */
struct known_key {
	const struct admin_policy_key *key;
	bool named; /* by a key of the file */
};

struct key_search {
	const struct admin_policy_user *have;
	struct known_key *by_id;
	size_t count;
};

static int compare_ids(const void *a, const void *b)
{
	const struct known_key *x = a, *y = b;

	return (x->key->id > y->key->id) - (x->key->id < y->key->id);
}

static struct key_search search_begin(const struct admin_policy_user *have)
{
	struct key_search s = { .have = have, .count = have->keys.count };

	s.by_id = check_calloc(s.count + 1, sizeof(*s.by_id));
	for (size_t i = 0; i < s.count; i++)
		s.by_id[i].key = &have->keys.items[i];
	if (s.count > 1)
		qsort(s.by_id, s.count, sizeof(*s.by_id), compare_ids);
	return s;
}

static struct known_key *find_id(const struct key_search *s, uint64_t id)
{
	const struct admin_policy_key key = { .id = id };
	const struct known_key wanted = { .key = &key };

	return s->count > 0 ? bsearch(&wanted, s->by_id, s->count, sizeof(*s->by_id), compare_ids) : NULL;
}

/* How many keys of that name there are that were not rotated; *first is one of them. They lie sorted by name. */
static size_t find_name(const struct key_search *s, const char *name, struct known_key **first)
{
	const struct admin_policy_key *keys = s->have->keys.items;
	size_t low = 0, high = s->count, found = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const char *text = keys[middle].values[KEY_NAME];
		if (text == NULL || strcmp(text, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < s->count && strcmp(keys[low].values[KEY_NAME], name) == 0; low++) {
		if (keys[low].rotated)
			continue;
		*first = find_id(s, keys[low].id);
		found++;
	}
	return found;
}

static const char *id_text(struct comparison *c, uint64_t id)
{
	char text[ADMIN_ID_MAX];

	snprintf(text, sizeof(text), "%" PRIu64, id);
	return admin_policy_text(&c->out->texts, sv_str(text));
}

static void set_key(struct comparison *c, const char *user, const struct admin_policy_key *have,
                    const struct admin_policy_key *want)
{
	const char *label = want->id != 0 ? id_text(c, want->id) : want->values[KEY_NAME];
	bool changed[KEY_FIELDS] = { false }, any = false;

	if (want->values[KEY_SIGNING] != NULL && strcmp(want->values[KEY_SIGNING], have->values[KEY_SIGNING]) != 0) {
		admin_policy_error(c->errors, want->line,
		                   "users.%s.keys.signing: key %s was made %s a signing key, and that stays so", user,
		                   label, strcmp(have->values[KEY_SIGNING], "true") == 0 ? "with" : "without");
		return;
	}
	for (size_t f = 0; f < KEY_FIELDS; f++) {
		const char *from = have->values[f];
		changed[f] = differs(c, (struct admin_policy_change){ .what = "key",
		                                                      .user = user,
		                                                      .name = label,
		                                                      .field = admin_key_fields[f],
		                                                      .from = from != NULL ? from : "",
		                                                      .to = want->values[f] });
		any |= changed[f];
	}
	if (!any)
		return;
	json_t *row = add_row(c, ROWS_KEY_SET);
	put_id(row, have->id);
	for (size_t f = 0; f < KEY_FIELDS; f++)
		put_text(row, admin_key_fields[f], changed[f] ? want->values[f] : NULL);
}

static void make_key(struct comparison *c, const char *user, const struct admin_policy_key *want)
{
	static const char *const otherwise[KEY_FIELDS] = { [KEY_SCOPES] = "read,upload",
		                                           [KEY_EXPIRES] = ADMIN_KEY_NEVER,
		                                           [KEY_DISABLED] = "false",
		                                           [KEY_SIGNING] = "false" };
	const char *expires = want->values[KEY_EXPIRES];

	if (expires != NULL && strcmp(expires, ADMIN_KEY_NEVER) != 0 && strcmp(expires, c->have->now) <= 0) {
		admin_policy_error(c->errors, want->line,
		                   "users.%s.keys.expires: the key %s is not there yet, and would have expired at %s",
		                   user, want->values[KEY_NAME], expires);
		return;
	}
	add_change(c, (struct admin_policy_change){
	                      .how = '+', .what = "key", .user = user, .name = want->values[KEY_NAME] });
	json_t *row = add_row(c, ROWS_KEY_ADD);
	put_text(row, "user", user);
	for (size_t f = 0; f < KEY_FIELDS; f++)
		put_text(row, admin_key_fields[f], want->values[f] != NULL ? want->values[f] : otherwise[f]);
}

static void compare_key(struct comparison *c, const struct key_search *s, const char *user,
                        const struct admin_policy_key *want)
{
	struct known_key *found = NULL;

	if (want->id != 0) {
		found = find_id(s, want->id);
		if (found == NULL) {
			admin_policy_error(c->errors, want->line,
			                   "users.%s.keys.id: the user has no key %" PRIu64
			                   " that was not revoked; a key that is to be made has a name and no id",
			                   user, want->id);
			return;
		}
	} else {
		size_t count = find_name(s, want->values[KEY_NAME], &found);
		if (count > 1) {
			admin_policy_error(c->errors, want->line,
			                   "users.%s.keys.name: the user has %zu keys of the name \"%s\": give the id "
			                   "of the one that is meant",
			                   user, count, want->values[KEY_NAME]);
			return;
		}
	}
	if (found == NULL) {
		make_key(c, user, want);
	} else if (found->named) {
		admin_policy_error(c->errors, want->line, "users.%s.keys: key %" PRIu64 " is named twice", user,
		                   found->key->id);
	} else {
		found->named = true;
		set_key(c, user, found->key, want);
	}
}

static void compare_keys(struct comparison *c, const struct admin_policy_user *have,
                         const struct admin_policy_user *want)
{
	if (!want->keys.given)
		return;
	struct key_search s = search_begin(have);
	size_t errors = c->errors->count;

	for (size_t i = 0; i < want->keys.count; i++)
		compare_key(c, &s, want->name, &want->keys.items[i]);
	for (size_t i = 0; i < s.count && c->prune && c->errors->count == errors; i++) {
		const struct admin_policy_key *k = s.by_id[i].key;
		if (s.by_id[i].named || k->rotated)
			continue;
		add_change(c, (struct admin_policy_change){ .how = '-',
		                                            .what = "key",
		                                            .user = want->name,
		                                            .name = k->values[KEY_NAME] != NULL ? k->values[KEY_NAME]
		                                                                                : id_text(c, k->id) });
		put_id(add_row(c, ROWS_KEY_REMOVE), k->id);
	}
	free(s.by_id);
}

/* ---- users ---- */

static void set_user(struct comparison *c, const struct admin_policy_user *have, const struct admin_policy_user *want)
{
	static const struct list_rows allow = { "allow", ROWS_ALLOW_REMOVE, ROWS_ALLOW_SET, ROWS_ALLOW_ADD };
	static const struct list_rows source = { "source", ROWS_SOURCE_REMOVE, ROWS_SOURCE_SET, ROWS_SOURCE_ADD };

	compare_section(c, SECTION_USER, ROWS_USER_SET, have, want);
	compare_section(c, SECTION_LIMIT, ROWS_LIMIT, have, want);
	compare_section(c, SECTION_QUOTA, ROWS_QUOTA, have, want);
	compare_section(c, SECTION_IMAGE, ROWS_IMAGE, have, want);
	compare_lists(c, &allow, want->name, &have->allow, &want->allow);
	compare_lists(c, &source, want->name, &have->sources, &want->sources);
	compare_keys(c, have, want);
}

static void add_user(struct comparison *c, const struct admin_policy_user *want)
{
	struct admin_policy_user blank = { .name = want->name };

	if (want->values[FIELD_EMAIL] == NULL) {
		admin_policy_error(c->errors, want->line, "users.%s.email: the user is not there yet, and needs one",
		                   want->name);
		return;
	}
	for (size_t f = 0; f < FIELDS; f++)
		blank.values[f] = admin_field_default((enum admin_field)f);
	add_change(c, (struct admin_policy_change){ .how = '+', .what = "user", .user = want->name });
	(void)differs(c, (struct admin_policy_change){ .what = "user",
	                                               .user = want->name,
	                                               .field = admin_fields[FIELD_DISABLED].name,
	                                               .from = blank.values[FIELD_DISABLED],
	                                               .to = want->values[FIELD_DISABLED] });
	json_t *row = add_row(c, ROWS_USER_ADD);
	put_text(row, "user", want->name);
	/* What the row is made with is no change after that. */
	for (size_t f = 0; f < FIELDS; f++) {
		if (admin_fields[f].section != SECTION_USER)
			continue;
		if (want->values[f] != NULL)
			blank.values[f] = want->values[f];
		put_text(row, admin_fields[f].name, blank.values[f]);
	}
	set_user(c, &blank, want);
}

static void remove_user(struct comparison *c, const struct admin_policy_user *have)
{
	add_change(c, (struct admin_policy_change){ .how = '-', .what = "user", .user = have->name });
	put_text(add_row(c, ROWS_USER_REMOVE), "user", have->name);
}

static void compare_users(struct comparison *c, const struct admin_policy *want)
{
	const struct admin_policy *have = c->have;
	size_t h = 0, w = 0;

	while (want->users_given && (h < have->users_count || w < want->users_count)) {
		int order = h == have->users_count   ? 1
		            : w == want->users_count ? -1
		                                     : strcmp(have->users[h].name, want->users[w].name);
		if (order < 0 && c->prune)
			remove_user(c, &have->users[h]);
		else if (order == 0)
			set_user(c, &have->users[h], &want->users[w]);
		else if (order > 0)
			add_user(c, &want->users[w]);
		h += order <= 0;
		w += order >= 0;
	}
}

/* ---- backends ---- */

static void set_backend(struct comparison *c, const struct admin_policy_backend *have,
                        const struct admin_policy_backend *want)
{
	bool changed = differs(
	        c, (struct admin_policy_change){
	                   .what = "backend", .name = want->name, .field = "url", .from = have->url, .to = want->url });

	changed |= differs(c, (struct admin_policy_change){ .what = "backend",
	                                                    .name = want->name,
	                                                    .field = "weight",
	                                                    .from = have->weight,
	                                                    .to = want->weight });
	if (!changed)
		return;
	json_t *row = add_row(c, ROWS_BACKEND_SET);
	put_text(row, "name", want->name);
	put_text(row, "url", want->url);
	put_text(row, "weight", want->weight);
}

static void add_backend(struct comparison *c, const struct admin_policy_backend *want)
{
	if (want->url == NULL) {
		admin_policy_error(c->errors, want->line,
		                   "backends.%s.url: the backend is not there yet, and needs one", want->name);
		return;
	}
	add_change(c, (struct admin_policy_change){ .how = '+', .what = "backend", .name = want->name });
	json_t *row = add_row(c, ROWS_BACKEND_ADD);
	put_text(row, "name", want->name);
	put_text(row, "url", want->url);
	put_text(row, "weight", want->weight != NULL ? want->weight : "1");
}

static void remove_backend(struct comparison *c, const struct admin_policy_backend *have)
{
	add_change(c, (struct admin_policy_change){ .how = '-', .what = "backend", .name = have->name });
	put_text(add_row(c, ROWS_BACKEND_REMOVE), "name", have->name);
}

static void compare_backends(struct comparison *c, const struct admin_policy *want)
{
	const struct admin_policy *have = c->have;
	size_t h = 0, w = 0;

	while (want->backends_given && (h < have->backends_count || w < want->backends_count)) {
		int order = h == have->backends_count   ? 1
		            : w == want->backends_count ? -1
		                                        : strcmp(have->backends[h].name, want->backends[w].name);
		if (order < 0 && c->prune)
			remove_backend(c, &have->backends[h]);
		else if (order == 0)
			set_backend(c, &have->backends[h], &want->backends[w]);
		else if (order > 0)
			add_backend(c, &want->backends[w]);
		h += order <= 0;
		w += order >= 0;
	}
}

void admin_policy_compare(const struct admin_policy *have, const struct admin_policy *want, bool prune,
                          struct admin_policy_errors *errors, struct admin_policy_diff *out)
{
	struct comparison c = { .have = have, .prune = prune, .errors = errors, .out = out };

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < ROWS; i++) {
		out->rows[i] = json_array();
		CHECK(out->rows[i] != NULL);
	}
	compare_users(&c, want);
	compare_backends(&c, want);
}

void admin_policy_diff_free(struct admin_policy_diff *d)
{
	for (size_t i = 0; i < ROWS; i++)
		json_decref(d->rows[i]);
	free(d->changes);
	admin_policy_texts_free(d->texts);
	memset(d, 0, sizeof(*d));
}
