#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"
#include "cli/policy_file.h"

/* ---- texts ---- */

/* What some readers of YAML take for something else than a text. */
static bool is_word_of_yaml(const char *text)
{
	static const char *const words[] = { "true", "false", "yes", "no",      "on",   "off",
		                             "null", "y",     "n",   "default", "never" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (sv_ieq(sv_str(text), sv_str(words[i])))
			return true;
	return false;
}

/* A number, a time or the like never begins with a letter, nor has it a slash. */
static bool is_plain(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || !sv_alnum(text[0]) || text[n - 1] == ':' || is_word_of_yaml(text))
		return false;
	if (text[0] >= '0' && text[0] <= '9' && strchr(text, '/') == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!sv_alnum(text[i]) && memchr("._@/:-", text[i], 6) == NULL)
			return false;
	return true;
}

/* One character of UTF-8 at p; its bytes, 0 for what is none. */
static size_t decode(const unsigned char *p, uint32_t *c)
{
	size_t n = p[0] < 0x80             ? 1
	           : (p[0] & 0xe0) == 0xc0 ? 2
	           : (p[0] & 0xf0) == 0xe0 ? 3
	           : (p[0] & 0xf8) == 0xf0 ? 4
	                                   : 0;

	*c = n < 2 ? p[0] : p[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	return n;
}

/* Signs that no line shows: controls, line separators, marks of direction, the byte order mark. */
static bool is_hidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || (c >= 0xd800 && c < 0xe000) || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

void policy_file_put_text(FILE *f, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	uint32_t c;

	if (is_plain(text)) {
		fputs(text, f);
		return;
	}
	fputc('"', f);
	while (*p != '\0') {
		size_t n = decode(p, &c);
		if (n == 0) {
			fputc('?', f);
			n = 1;
		} else if (c == '"' || c == '\\') {
			fprintf(f, "\\%c", (char)c);
		} else if (is_hidden(c)) {
			fprintf(f, c < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)c);
		} else {
			fwrite(p, 1, n, f);
		}
		p += n;
	}
	fputc('"', f);
}

static void put_line(FILE *f, const char *indent, const char *name, const char *value)
{
	fprintf(f, "%s%s: ", indent, name);
	policy_file_put_text(f, value);
	fputc('\n', f);
}

/* A comma list as one of YAML; "none" is the empty one. */
static void put_names(FILE *f, const char *names)
{
	struct sv rest = sv_str(names), name;
	const char *between = "";

	fputc('[', f);
	while (strcmp(names, "none") != 0 && sv_split(&rest, ',', &name)) {
		char text[128];
		fputs(between, f);
		if (sv_copy(name, text, sizeof(text)) == ERR_OK)
			policy_file_put_text(f, text);
		between = ", ";
	}
	fputc(']', f);
}

static bool is_list(enum admin_field field)
{
	return admin_fields[field].kind == KIND_NAMES || admin_fields[field].kind == KIND_PRESETS;
}

/* ---- YAML ---- */

static bool all_default(const struct admin_policy_user *u, enum admin_section section)
{
	for (size_t i = 0; i < FIELDS; i++)
		if (admin_fields[i].section == section &&
		    strcmp(u->values[i], admin_field_default((enum admin_field)i)) != 0)
			return false;
	return true;
}

static void put_section(FILE *f, const struct admin_policy_user *u, enum admin_section section)
{
	if (all_default(u, section)) {
		fprintf(f, "    %s: default\n", admin_section_names[section]);
		return;
	}
	fprintf(f, "    %s:\n", admin_section_names[section]);
	for (size_t i = 0; i < FIELDS; i++) {
		if (admin_fields[i].section != section)
			continue;
		fprintf(f, "      %s: ", admin_fields[i].name);
		if (is_list((enum admin_field)i))
			put_names(f, u->values[i]);
		else
			fputs(u->values[i], f);
		fputc('\n', f);
	}
}

static void put_list(FILE *f, const char *name, const char *what, const struct admin_policy_list *list)
{
	fprintf(f, "    %s:%s\n", name, list->count == 0 ? " []" : "");
	for (size_t i = 0; i < list->count; i++) {
		const struct admin_policy_entry *e = &list->items[i];
		if (e->description[0] == '\0') {
			fputs("      - ", f);
			policy_file_put_text(f, e->text);
			fputc('\n', f);
		} else {
			fprintf(f, "      - %s: ", what);
			policy_file_put_text(f, e->text);
			fputc('\n', f);
			put_line(f, "        ", "description", e->description);
		}
	}
}

/* Whether its name is enough to find the key among those that are written, which lie sorted by name. */
static bool is_named(const struct admin_policy_keys *keys, size_t at)
{
	const char *name = keys->items[at].values[KEY_NAME];

	if (name == NULL)
		return false;
	for (size_t i = at;
	     i-- > 0 && keys->items[i].values[KEY_NAME] != NULL && strcmp(keys->items[i].values[KEY_NAME], name) == 0;)
		if (!keys->items[i].rotated)
			return false;
	for (size_t i = at + 1; i < keys->count && strcmp(keys->items[i].values[KEY_NAME], name) == 0; i++)
		if (!keys->items[i].rotated)
			return false;
	return true;
}

static size_t written_keys(const struct admin_policy_keys *keys)
{
	size_t count = 0;

	for (size_t i = 0; i < keys->count; i++)
		count += !keys->items[i].rotated;
	return count;
}

static void put_keys(FILE *f, const struct admin_policy_keys *keys)
{
	fprintf(f, "    keys:%s\n", written_keys(keys) == 0 ? " []" : "");
	for (size_t i = 0; i < keys->count; i++) {
		const struct admin_policy_key *k = &keys->items[i];
		const char *indent = "      - ";
		if (k->rotated)
			continue;
		if (!is_named(keys, i)) {
			fprintf(f, "%sid: %" PRIu64 "\n", indent, k->id);
			indent = "        ";
		}
		if (k->values[KEY_NAME] != NULL) {
			put_line(f, indent, "name", k->values[KEY_NAME]);
			indent = "        ";
		}
		fprintf(f, "%sscopes: ", indent);
		put_names(f, k->values[KEY_SCOPES]);
		fprintf(f, "\n        expires: %s\n        disabled: %s\n", k->values[KEY_EXPIRES],
		        k->values[KEY_DISABLED]);
		if (strcmp(k->values[KEY_SIGNING], "true") == 0)
			fputs("        signing: true\n", f);
	}
}

void policy_file_write(FILE *f, const struct admin_policy *p)
{
	fprintf(f, "version: %d\nbackends:%s\n", ADMIN_POLICY_VERSION, p->backends_count == 0 ? " []" : "");
	for (size_t i = 0; i < p->backends_count; i++) {
		put_line(f, "  - ", "name", p->backends[i].name);
		put_line(f, "    ", "url", p->backends[i].url);
		fprintf(f, "    weight: %s\n", p->backends[i].weight);
	}
	fprintf(f, "users:%s\n", p->users_count == 0 ? " []" : "");
	for (size_t i = 0; i < p->users_count; i++) {
		const struct admin_policy_user *u = &p->users[i];
		put_line(f, "  - ", "name", u->name);
		put_line(f, "    ", "email", u->values[FIELD_EMAIL]);
		fprintf(f, "    disabled: %s\n", u->values[FIELD_DISABLED]);
		for (size_t s = SECTION_LIMIT; s < SECTIONS; s++)
			put_section(f, u, (enum admin_section)s);
		put_list(f, "allow", "cidr", &u->allow);
		put_list(f, "sources", "prefix", &u->sources);
		put_keys(f, &u->keys);
	}
}

/* ---- JSON ---- */

static json_t *value(const char *text)
{
	json_t *v = text != NULL ? json_string(text) : json_null();

	if (v == NULL)
		v = json_string("?");
	CHECK(v != NULL);
	return v;
}

static void put(json_t *object, const char *name, json_t *v)
{
	CHECK(json_object_set_new(object, name, v) == 0);
}

static json_t *names_value(const char *names)
{
	json_t *v = json_array();
	struct sv rest = sv_str(names), name;

	CHECK(v != NULL);
	while (strcmp(names, "none") != 0 && sv_split(&rest, ',', &name))
		CHECK(json_array_append_new(v, json_stringn(name.p, name.n)) == 0);
	return v;
}

/* Whole numbers and truth values as such; others (1.5, default) as they are written. */
static json_t *field_value(enum admin_field field, const char *text)
{
	uint64_t number = 0;

	if (is_list(field))
		return names_value(text);
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return json_boolean(text[0] == 't');
	if (admin_fields[field].kind == KIND_EMAIL || sv_to_u64(sv_str(text), &number) != ERR_OK)
		return value(text);
	return json_integer((json_int_t)number);
}

static json_t *list_value(const char *what, const struct admin_policy_list *list)
{
	json_t *v = json_array();

	CHECK(v != NULL);
	for (size_t i = 0; i < list->count; i++) {
		json_t *entry = json_object();
		put(entry, what, value(list->items[i].text));
		put(entry, "description", value(list->items[i].description));
		CHECK(json_array_append_new(v, entry) == 0);
	}
	return v;
}

static json_t *keys_value(const struct admin_policy_keys *keys)
{
	json_t *v = json_array();

	CHECK(v != NULL);
	for (size_t i = 0; i < keys->count; i++) {
		const struct admin_policy_key *k = &keys->items[i];
		if (k->rotated)
			continue;
		json_t *key = json_object();
		if (!is_named(keys, i))
			put(key, "id", json_integer((json_int_t)k->id));
		if (k->values[KEY_NAME] != NULL)
			put(key, "name", value(k->values[KEY_NAME]));
		put(key, "scopes", names_value(k->values[KEY_SCOPES]));
		put(key, "expires", value(k->values[KEY_EXPIRES]));
		put(key, "disabled", json_boolean(k->values[KEY_DISABLED][0] == 't'));
		put(key, "signing", json_boolean(k->values[KEY_SIGNING][0] == 't'));
		CHECK(json_array_append_new(v, key) == 0);
	}
	return v;
}

static json_t *user_value(const struct admin_policy_user *u)
{
	json_t *v = json_object(), *sections[SECTIONS] = { v };

	put(v, "name", value(u->name));
	for (size_t s = SECTION_LIMIT; s < SECTIONS; s++)
		sections[s] = json_object();
	for (size_t i = 0; i < FIELDS; i++)
		put(sections[admin_fields[i].section], admin_fields[i].name,
		    field_value((enum admin_field)i, u->values[i]));
	for (size_t s = SECTION_LIMIT; s < SECTIONS; s++)
		put(v, admin_section_names[s], sections[s]);
	put(v, "allow", list_value("cidr", &u->allow));
	put(v, "sources", list_value("prefix", &u->sources));
	put(v, "keys", keys_value(&u->keys));
	return v;
}

json_t *policy_file_json(const struct admin_policy *p)
{
	json_t *users = json_array(), *backends = json_array();
	uint64_t weight = 0;

	CHECK(users != NULL && backends != NULL);
	for (size_t i = 0; i < p->backends_count; i++) {
		json_t *b = json_object();
		put(b, "name", value(p->backends[i].name));
		put(b, "url", value(p->backends[i].url));
		CHECK(sv_to_u64(sv_str(p->backends[i].weight), &weight) == ERR_OK);
		put(b, "weight", json_integer((json_int_t)weight));
		CHECK(json_array_append_new(backends, b) == 0);
	}
	for (size_t i = 0; i < p->users_count; i++)
		CHECK(json_array_append_new(users, user_value(&p->users[i])) == 0);
	json_t *v = json_pack("{s:i, s:o, s:o}", "version", ADMIN_POLICY_VERSION, "backends", backends, "users", users);
	CHECK(v != NULL);
	return v;
}
