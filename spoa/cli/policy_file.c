#include "cli/policy_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "cli/policy_value.h"
#include "cli/source_prefix.h"
#include "cli/yaml_reader.h"
#include "policy/record.h"
#include "policy/scope.h"
#include "store/admin_allow.h"
#include "store/admin_backend.h"
#include "store/admin_limit.h"
#include "store/admin_words.h"

#define DESCRIPTION_MAX 1000
#define KEY_NAME_MAX    255
#define PREFIX_MAX      512
#define SOURCES_MAX     1000

struct file {
	struct yaml_reader r;
	struct admin_policy *out;
	char label[128]; /* the user, key or backend that is read, as errors call it */
	/* What is read at the moment. */
	struct admin_policy_user *user;
	struct admin_policy_backend *backend;
	struct admin_policy_key *key;
	struct admin_policy_list *list;
	struct admin_policy_entry entry;
	enum admin_section section;
	unsigned bits;                         /* of a list of names */
	struct sv presets[POLICY_PRESETS_MAX]; /* copies */
	size_t presets_count;
};

static const char *keep(struct file *f, const char *text)
{
	return admin_policy_text(&f->out->texts, sv_str(text));
}

/* "…" is no …; the text is still at the reader's event. */
static void refuse_text(struct file *f, const char *text, const char *what)
{
	yaml_reader_error(&f->r, yaml_reader_line(&f->r), "\"%.100s\" must be %s", text, what);
}

/* An item of a list has its place for a name, until its own is known. */
static void begin_item(struct file *f, size_t i)
{
	snprintf(f->label, sizeof(f->label), "[%zu]", i + 1);
	f->r.path[f->r.path_count++] = f->label;
}

static void end_item(struct file *f)
{
	f->r.path_count--;
}

static const char *take_description(struct file *f)
{
	const char *text = yaml_reader_scalar(&f->r);

	if (text == NULL)
		return "";
	if (policy_value_length(text) > DESCRIPTION_MAX)
		yaml_reader_error(&f->r, yaml_reader_line(&f->r), "at most %d characters", DESCRIPTION_MAX);
	return keep(f, text);
}

static const char *take_bool(struct file *f)
{
	const char *text = yaml_reader_scalar(&f->r);

	if (text == NULL)
		return NULL;
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return keep(f, text);
	refuse_text(f, text, "true or false");
	return NULL;
}

/* ---- values ---- */

static void read_name_of_set(void *arg, size_t i)
{
	struct file *f = arg;
	const struct admin_field_info *info =
	        &admin_fields[f->section == SECTION_LIMIT ? FIELD_LIMIT_SHADOW : FIELD_QUOTA_SHADOW];
	const char *text = yaml_reader_scalar(&f->r);

	(void)i;
	for (size_t k = 0; k < ADMIN_SHADOWS && text != NULL; k++) {
		if (strcmp(text, info->names[k]) == 0 && (f->bits & 1u << k) == 0) {
			f->bits |= 1u << k;
			return;
		}
	}
	if (text != NULL)
		yaml_reader_error(&f->r, yaml_reader_line(&f->r), "\"%.100s\" must be %s or %s, each at most once",
		                  text, info->names[0], info->names[1]);
}

static const char *take_names(struct file *f, const char *const *names)
{
	char text[64] = "";
	size_t n = 0;

	f->bits = 0;
	yaml_reader_list(&f->r, read_name_of_set, f);
	for (size_t k = 0; k < ADMIN_SHADOWS && n < sizeof(text); k++)
		if ((f->bits & 1u << k) != 0)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n > 0 ? "," : "", names[k]);
	return keep(f, n > 0 ? text : "none");
}

static void read_preset(void *arg, size_t i)
{
	struct file *f = arg;
	const char *text = yaml_reader_scalar(&f->r);

	if (text == NULL)
		return;
	bool ok = admin_is_preset(sv_str(text));
	for (size_t k = 0; k < f->presets_count && ok; k++)
		ok = !sv_eq(f->presets[k], sv_str(text));
	if (!ok)
		yaml_reader_error(&f->r, yaml_reader_line(&f->r),
		                  "\"%.100s\" must be a name of 1 to %d of A-Z a-z 0-9 . _ -, not `none`, each at most "
		                  "once",
		                  text, POLICY_PRESET_MAX);
	else if (i == POLICY_PRESETS_MAX)
		yaml_reader_error(&f->r, yaml_reader_line(&f->r), "at most %d presets", POLICY_PRESETS_MAX);
	else if (f->presets_count < POLICY_PRESETS_MAX)
		f->presets[f->presets_count++] = sv_str(keep(f, text));
}

static int compare_presets(const void *a, const void *b)
{
	const struct sv *x = a, *y = b;

	return strcmp(x->p, y->p);
}

static const char *take_presets(struct file *f)
{
	char text[POLICY_PRESETS_MAX * (POLICY_PRESET_MAX + 1) + 1];
	size_t n = 0;

	f->presets_count = 0;
	yaml_reader_list(&f->r, read_preset, f);
	if (f->presets_count == 0)
		return "none";
	qsort(f->presets, f->presets_count, sizeof(f->presets[0]), compare_presets);
	for (size_t i = 0; i < f->presets_count; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? "," : "", f->presets[i].p);
	return keep(f, text);
}

static const char *take_value(struct file *f, enum admin_field field)
{
	char canonical[POLICY_VALUE_MAX], why[POLICY_VALUE_MAX];

	if (admin_fields[field].kind == KIND_NAMES)
		return take_names(f, admin_fields[field].names);
	if (admin_fields[field].kind == KIND_PRESETS)
		return take_presets(f);
	const char *text = yaml_reader_scalar(&f->r);
	if (text == NULL)
		return NULL;
	if (policy_value(field, text, canonical, why) == ERR_OK)
		return keep(f, canonical);
	refuse_text(f, text, why);
	return NULL;
}

/* The fields of a section, and how many. */
static size_t fields_of(enum admin_section section, enum admin_field fields[FIELDS])
{
	size_t count = 0;

	for (size_t i = 0; i < FIELDS; i++)
		if (admin_fields[i].section == section)
			fields[count++] = (enum admin_field)i;
	return count;
}

static void read_field(void *arg, size_t i)
{
	struct file *f = arg;
	enum admin_field fields[FIELDS];

	CHECK(i < fields_of(f->section, fields));
	f->user->values[fields[i]] = take_value(f, fields[i]);
}

/* A mapping, or the word `default` for all of it. */
static void read_section(struct file *f, enum admin_section section)
{
	enum admin_field fields[FIELDS];
	const char *names[FIELDS];
	size_t count = fields_of(section, fields);

	for (size_t i = 0; i < count; i++)
		names[i] = admin_fields[fields[i]].name;
	f->section = section;
	if (!yaml_reader_is_scalar(&f->r)) {
		(void)yaml_reader_mapping(&f->r, names, count, read_field, f);
		return;
	}
	const char *text = yaml_reader_scalar(&f->r);
	if (text != NULL && strcmp(text, "default") == 0)
		for (size_t i = 0; i < count; i++)
			f->user->values[fields[i]] = admin_field_default(fields[i]);
	else if (text != NULL)
		refuse_text(f, text, "a mapping (key: value), or default");
}

/* ---- lists ---- */

static void take_entry_text(struct file *f)
{
	const char *text = yaml_reader_scalar(&f->r), *why = "";
	char block[ADMIN_BLOCK_MAX], prefix[SOURCE_PREFIX_MAX], error[ADMIN_ERROR_MAX];
	unsigned long line = yaml_reader_line(&f->r);

	if (text == NULL)
		return;
	f->entry.line = line;
	if (f->list == &f->user->allow) {
		if (admin_allow_block(text, block, error) == ERR_OK)
			f->entry.text = keep(f, block);
		else
			yaml_reader_error(&f->r, line, "%.300s", error);
	} else {
		if (source_prefix(text, prefix, &why) != ERR_OK)
			yaml_reader_error(&f->r, line,
			                  "\"%.200s\" is no prefix of remote sources (such as "
			                  "https://cdn.example.com/images/): %s",
			                  text, why);
		else if (strlen(prefix) > PREFIX_MAX)
			yaml_reader_error(&f->r, line, "a prefix has at most %d bytes", PREFIX_MAX);
		else
			f->entry.text = keep(f, prefix);
	}
}

static void read_entry_member(void *arg, size_t i)
{
	struct file *f = arg;

	if (i == 0)
		take_entry_text(f);
	else
		f->entry.description = take_description(f);
}

/* A block or prefix alone, or with a description. */
static void read_entry(void *arg, size_t i)
{
	static const char *const allow[] = { "cidr", "description" }, *const source[] = { "prefix", "description" };
	struct file *f = arg;
	const char *const *names = f->list == &f->user->allow ? allow : source;
	unsigned long line = yaml_reader_line(&f->r);
	size_t errors = f->r.errors->count;
	bool whole = true;

	f->entry = (struct admin_policy_entry){ .description = "" };
	if (yaml_reader_is_scalar(&f->r))
		take_entry_text(f);
	else
		whole = yaml_reader_mapping(&f->r, names, 2, read_entry_member, f);
	if (f->list == &f->user->sources && i == SOURCES_MAX)
		yaml_reader_error(&f->r, line, "at most %d sources", SOURCES_MAX);
	if (f->entry.text != NULL)
		*admin_policy_add_entry(f->list) = f->entry;
	else if (whole && f->r.errors->count == errors)
		yaml_reader_error(&f->r, line, "needs a %s", names[0]);
}

static void read_list(struct file *f, struct admin_policy_list *list)
{
	f->list = list;
	list->given = true;
	yaml_reader_list(&f->r, read_entry, f);
}

/* ---- keys ---- */

static void read_scope(void *arg, size_t i)
{
	struct file *f = arg;
	const char *text = yaml_reader_scalar(&f->r);
	uint32_t one = 0;

	(void)i;
	if (text == NULL)
		return;
	if (strchr(text, ',') == NULL && scopes_parse(sv_str(text), &one) == ERR_OK && (f->bits & one) == 0)
		f->bits |= one;
	else
		refuse_text(f, text, "read, upload or admin, each at most once");
}

static const char *take_scopes(struct file *f)
{
	unsigned long line = yaml_reader_line(&f->r);
	size_t errors = f->r.errors->count;
	char text[SCOPES_TEXT_MAX];

	f->bits = 0;
	yaml_reader_list(&f->r, read_scope, f);
	if (f->bits == 0) {
		if (f->r.errors->count == errors)
			yaml_reader_error(&f->r, line, "must be a list of at least one of read, upload, admin");
		return NULL;
	}
	return keep(f, scopes_format(f->bits, text, sizeof(text)));
}

static const char *take_moment(struct file *f)
{
	char canonical[POLICY_VALUE_MAX];
	const char *text = yaml_reader_scalar(&f->r);

	if (text == NULL)
		return NULL;
	if (policy_value_moment(text, canonical) == ERR_OK)
		return keep(f, canonical);
	refuse_text(f, text, "a moment as 2027-01-31T12:00:00Z or 2027-01-31, or never");
	return NULL;
}

static const char *take_key_name(struct file *f)
{
	const char *text = yaml_reader_scalar(&f->r);

	if (text == NULL)
		return NULL;
	size_t n = policy_value_length(text);
	if (n >= 1 && n <= KEY_NAME_MAX)
		return keep(f, text);
	refuse_text(f, text, "a name of 1 to 255 characters");
	return NULL;
}

/* What was given may be a whole key by mistake: it is not repeated. */
static uint64_t take_key_id(struct file *f)
{
	const char *text = yaml_reader_scalar(&f->r);
	uint64_t id = 0;

	if (text != NULL && (sv_to_u64(sv_str(text), &id) != ERR_OK || id == 0 || id > INT64_MAX)) {
		yaml_reader_error(&f->r, yaml_reader_line(&f->r), "must be a number, the 7 of igw_7_…");
		return 0;
	}
	return id;
}

static void read_key_member(void *arg, size_t i)
{
	struct file *f = arg;
	const char **values = f->key->values;

	if (i == 0)
		f->key->id = take_key_id(f);
	else if (i == 1 + KEY_NAME)
		values[KEY_NAME] = take_key_name(f);
	else if (i == 1 + KEY_SCOPES)
		values[KEY_SCOPES] = take_scopes(f);
	else if (i == 1 + KEY_EXPIRES)
		values[KEY_EXPIRES] = take_moment(f);
	else
		values[i - 1] = take_bool(f);
}

static void read_key(void *arg, size_t i)
{
	struct file *f = arg;
	const char *names[1 + KEY_FIELDS] = { "id" };
	size_t errors = f->r.errors->count;

	(void)i;
	memcpy(names + 1, admin_key_fields, sizeof(admin_key_fields));
	f->key = admin_policy_add_key(&f->user->keys);
	f->key->line = yaml_reader_line(&f->r);
	bool whole = yaml_reader_mapping(&f->r, names, 1 + KEY_FIELDS, read_key_member, f);
	if (whole && f->key->id == 0 && f->key->values[KEY_NAME] == NULL && f->r.errors->count == errors)
		yaml_reader_error(&f->r, f->key->line, "a key needs a name, or the id of one that is there");
}

/* ---- users and backends ---- */

enum {
	USER_NAME = 0,
	USER_EMAIL,
	USER_DISABLED,
	USER_LIMIT,
	USER_QUOTA,
	USER_IMAGE,
	USER_ALLOW,
	USER_SOURCES,
	USER_KEYS
};

static const char *take_name(struct file *f, enum err (*check)(const char *), const char *what)
{
	const char *text = yaml_reader_scalar(&f->r);

	if (text == NULL)
		return NULL;
	if (check(text) == ERR_OK) {
		snprintf(f->label, sizeof(f->label), "%s", text);
		return keep(f, text);
	}
	refuse_text(f, text, what);
	return NULL;
}

static void read_user_member(void *arg, size_t i)
{
	struct file *f = arg;
	struct admin_policy_user *u = f->user;

	if (i == USER_NAME) {
		u->name = take_name(
		        f, policy_value_username,
		        "a name of 1 to 255 of the characters A-Z a-z 0-9 . _ -, which starts with a letter "
		        "or digit and is not all digits");
	} else if (i == USER_EMAIL) {
		u->values[FIELD_EMAIL] = take_value(f, FIELD_EMAIL);
	} else if (i == USER_DISABLED) {
		u->values[FIELD_DISABLED] = take_value(f, FIELD_DISABLED);
	} else if (i == USER_ALLOW) {
		read_list(f, &u->allow);
	} else if (i == USER_SOURCES) {
		read_list(f, &u->sources);
	} else if (i == USER_KEYS) {
		u->keys.given = true;
		yaml_reader_list(&f->r, read_key, f);
	} else {
		read_section(f, (enum admin_section)(SECTION_LIMIT + i - USER_LIMIT));
	}
}

static void read_user(void *arg, size_t i)
{
	static const char *const names[] = { "name",  "email", "disabled", "limit", "quota",
		                             "image", "allow", "sources",  "keys" };
	struct file *f = arg;
	size_t errors = f->r.errors->count;

	begin_item(f, i);
	f->user = admin_policy_add_user(f->out);
	f->user->line = yaml_reader_line(&f->r);
	bool whole = yaml_reader_mapping(&f->r, names, sizeof(names) / sizeof(names[0]), read_user_member, f);
	if (whole && f->user->name == NULL && f->r.errors->count == errors)
		yaml_reader_error(&f->r, f->user->line, "a user needs a name");
	end_item(f);
}

static void read_backend_member(void *arg, size_t i)
{
	struct file *f = arg;
	uint64_t weight = 0;

	if (i == 0) {
		f->backend->name = take_name(
		        f, policy_value_backend,
		        "a name of 1 to 255 of the characters A-Z a-z 0-9 . _ -, which starts with a "
		        "letter or digit");
		return;
	}
	const char *text = yaml_reader_scalar(&f->r);
	if (text == NULL)
		return;
	if (i == 1) {
		if (policy_value_url(text) == ERR_OK)
			f->backend->url = keep(f, text);
		else
			refuse_text(f, text, "http://HOST:PORT or https://HOST:PORT, without a path");
	} else {
		if (sv_to_u64(sv_str(text), &weight) == ERR_OK && weight <= ADMIN_WEIGHT_MAX)
			f->backend->weight = keep(f, text);
		else
			refuse_text(f, text, "a number from 0 to 256 (0: no new requests)");
	}
}

static void read_backend(void *arg, size_t i)
{
	static const char *const names[] = { "name", "url", "weight" };
	struct file *f = arg;
	size_t errors = f->r.errors->count;

	begin_item(f, i);
	f->backend = admin_policy_add_backend(f->out);
	f->backend->line = yaml_reader_line(&f->r);
	bool whole = yaml_reader_mapping(&f->r, names, sizeof(names) / sizeof(names[0]), read_backend_member, f);
	if (whole && f->backend->name == NULL && f->r.errors->count == errors)
		yaml_reader_error(&f->r, f->backend->line, "a backend needs a name");
	end_item(f);
}

static void read_member(void *arg, size_t i)
{
	struct file *f = arg;

	if (i == 0) {
		const char *text = yaml_reader_scalar(&f->r);
		if (text != NULL && strcmp(text, "1") != 0)
			refuse_text(f, text, "1, the only version that there is");
	} else if (i == 1) {
		f->out->backends_given = true;
		yaml_reader_list(&f->r, read_backend, f);
	} else {
		f->out->users_given = true;
		yaml_reader_list(&f->r, read_user, f);
	}
}

static void read_document(struct file *f)
{
	static const char *const names[] = { "version", "backends", "users" };
	struct yaml_reader *r = &f->r;

	if (yaml_reader_next(r) != YAML_STREAM_START_EVENT)
		return;
	if (yaml_reader_next(r) != YAML_DOCUMENT_START_EVENT) {
		if (!r->broken)
			yaml_reader_error(r, 1, "the file is empty");
		return;
	}
	(void)yaml_reader_next(r);
	(void)yaml_reader_mapping(r, names, sizeof(names) / sizeof(names[0]), read_member, f);
	(void)yaml_reader_next(r); /* the end of the document */
	if (yaml_reader_next(r) == YAML_DOCUMENT_START_EVENT)
		yaml_reader_error(r, yaml_reader_line(r), "a second document: a policy is one");
}

/* ---- what only the whole file tells ---- */

struct email {
	const char *text;
	const struct admin_policy_user *user;
};

static int compare_emails(const void *a, const void *b)
{
	const struct email *x = a, *y = b;
	int order = strcasecmp(x->text, y->text);

	return order != 0 ? order : (x->user->line > y->user->line) - (x->user->line < y->user->line);
}

static void check_emails(const struct admin_policy *p, struct admin_policy_errors *errors)
{
	struct email *emails = check_calloc(p->users_count + 1, sizeof(*emails));
	size_t count = 0;

	for (size_t i = 0; i < p->users_count; i++)
		if (p->users[i].values[FIELD_EMAIL] != NULL)
			emails[count++] = (struct email){ p->users[i].values[FIELD_EMAIL], &p->users[i] };
	if (count > 1)
		qsort(emails, count, sizeof(*emails), compare_emails);
	for (size_t i = 1; i < count; i++) {
		const struct admin_policy_user *u = emails[i].user;
		if (strcasecmp(emails[i - 1].text, emails[i].text) == 0)
			admin_policy_error(errors, u->line, "users.%s.email: that of line %lu too",
			                   u->name != NULL ? u->name : "?", emails[i - 1].user->line);
	}
	free(emails);
}

static void check_list(const char *user, const char *name, const struct admin_policy_list *list,
                       struct admin_policy_errors *errors)
{
	for (size_t i = 1; i < list->count; i++)
		if (strcmp(list->items[i - 1].text, list->items[i].text) == 0)
			admin_policy_error(errors, list->items[i].line, "users.%s.%s: %s is on line %lu too", user,
			                   name, list->items[i].text, list->items[i - 1].line);
}

/* They are sorted by name, and only those without an id are told apart by it. */
static void check_keys(const char *user, const struct admin_policy_keys *keys, struct admin_policy_errors *errors)
{
	for (size_t i = 1; i < keys->count; i++) {
		const struct admin_policy_key *a = &keys->items[i - 1], *b = &keys->items[i];
		if (a->id == 0 && b->id == 0 && a->values[KEY_NAME] != NULL && b->values[KEY_NAME] != NULL &&
		    strcmp(a->values[KEY_NAME], b->values[KEY_NAME]) == 0)
			admin_policy_error(errors, b->line, "users.%s.keys: the name \"%.100s\" is on line %lu too",
			                   user, b->values[KEY_NAME], a->line);
	}
}

static void check_whole(const struct admin_policy *p, struct admin_policy_errors *errors)
{
	for (size_t i = 0; i < p->users_count; i++) {
		const struct admin_policy_user *u = &p->users[i];
		const char *name = u->name != NULL ? u->name : "?";
		if (i > 0 && u->name != NULL && p->users[i - 1].name != NULL && strcmp(p->users[i - 1].name, name) == 0)
			admin_policy_error(errors, u->line, "users.%s: on line %lu too", name, p->users[i - 1].line);
		check_list(name, "allow", &u->allow, errors);
		check_list(name, "sources", &u->sources, errors);
		check_keys(name, &u->keys, errors);
	}
	for (size_t i = 1; i < p->backends_count; i++) {
		const struct admin_policy_backend *a = &p->backends[i - 1], *b = &p->backends[i];
		if (a->name != NULL && b->name != NULL && strcmp(a->name, b->name) == 0)
			admin_policy_error(errors, b->line, "backends.%s: on line %lu too", b->name, a->line);
	}
	check_emails(p, errors);
}

void policy_file_read(const char *text, size_t size, struct admin_policy *out, struct admin_policy_errors *errors)
{
	struct file f = { .out = out };

	yaml_reader_open(&f.r, text, size, errors);
	read_document(&f);
	yaml_reader_close(&f.r);
	admin_policy_sort(out);
	check_whole(out, errors);
}
