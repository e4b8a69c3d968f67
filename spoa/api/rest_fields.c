#include "api/rest_fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sv.h"

#define WORD_MAX 64

/* A word of the client for a sentence: short, and of printable ASCII. */
static const char *shown(const char *word, char buf[WORD_MAX + 8])
{
	size_t n = 0;

	for (; n < WORD_MAX && word[n] != '\0'; n++)
		buf[n] = word[n] >= 0x20 && word[n] < 0x7f ? word[n] : '?';
	snprintf(buf + n, 8, "%s", word[n] != '\0' ? "…" : "");
	return buf;
}

bool rest_fields(struct rest_db_call *c, const char *const *names)
{
	char buf[WORD_MAX + 8];
	const char *key;
	json_t *value;

	json_object_foreach(c->body, key, value)
	{
		size_t i = 0;
		while (names[i] != NULL && strcmp(names[i], key) != 0)
			i++;
		if (names[i] == NULL) {
			rest_deny(c, PROBLEM_BAD_REQUEST, "%s: there is no such field here.", shown(key, buf));
			return false;
		}
	}
	return true;
}

/* The field, or NULL. */
static json_t *field(const struct rest_db_call *c, const char *name)
{
	json_t *v = json_object_get(c->body, name);

	return json_is_null(v) ? NULL : v;
}

bool rest_text(struct rest_db_call *c, const char *name, enum rest_need need, const char **out)
{
	const json_t *v = field(c, name);

	*out = json_string_value(v);
	if (v != NULL ? json_is_string(v) : need == REST_OPTIONAL)
		return true;
	rest_deny(c, PROBLEM_BAD_REQUEST, v != NULL ? "%s: this is a text." : "%s: this field is needed.", name);
	return false;
}

static bool in_range(const json_t *v, uint64_t least, uint64_t most)
{
	return json_is_integer(v) && json_integer_value(v) >= 0 && (uint64_t)json_integer_value(v) >= least &&
	       (uint64_t)json_integer_value(v) <= most;
}

bool rest_number(struct rest_db_call *c, const char *name, enum rest_need need, uint64_t least, uint64_t most,
                 bool *given, uint64_t *out)
{
	const json_t *v = field(c, name);

	*given = v != NULL;
	if (v == NULL && need == REST_OPTIONAL)
		return true;
	if (v == NULL) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "%s: this field is needed.", name);
		return false;
	}
	if (!in_range(v, least, most)) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "%s: a whole number from %" PRIu64 " to %" PRIu64 ".", name, least,
		          most);
		return false;
	}
	*out = (uint64_t)json_integer_value(v);
	return true;
}

bool rest_bool(struct rest_db_call *c, const char *name, bool *given, bool *out)
{
	const json_t *v = field(c, name);

	*given = v != NULL;
	*out = json_is_true(v);
	if (v == NULL || json_is_boolean(v))
		return true;
	rest_deny(c, PROBLEM_BAD_REQUEST, "%s: true or false.", name);
	return false;
}

bool rest_change(struct rest_db_call *c, const char *name, uint64_t least, uint64_t most, struct admin_change *out)
{
	const json_t *v = json_object_get(c->body, name);

	*out = (struct admin_change){ .given = v != NULL };
	if (v == NULL || json_is_null(v))
		return true;
	if (!in_range(v, least, most)) {
		rest_deny(c, PROBLEM_BAD_REQUEST,
		          "%s: a whole number from %" PRIu64 " to %" PRIu64 ", or null: as the settings say.", name,
		          least, most);
		return false;
	}
	out->to = (struct admin_number){ .own = true, .value = (uint64_t)json_integer_value(v) };
	return true;
}

bool rest_change_thousandths(struct rest_db_call *c, const char *name, uint64_t least, uint64_t most,
                             struct admin_change *out)
{
	const json_t *v = json_object_get(c->body, name);
	const double thousandths = json_number_value(v) * 1000;

	*out = (struct admin_change){ .given = v != NULL };
	if (v == NULL || json_is_null(v))
		return true;
	if (json_is_number(v) && thousandths >= (double)least * 1000 && thousandths <= (double)most * 1000) {
		const uint64_t nearest = (uint64_t)(thousandths + 0.5);
		const double off = thousandths - (double)nearest;

		/* A double has no 1.1, and its thousandfold is not quite 1100. */
		out->to = (struct admin_number){ .own = true, .value = nearest };
		if (off > -1e-6 && off < 1e-6)
			return true;
	}
	rest_deny(c, PROBLEM_BAD_REQUEST,
	          "%s: a number from %" PRIu64 " to %" PRIu64
	          " with at most three digits behind the point, or null: as the settings say.",
	          name, least, most);
	return false;
}

bool rest_change_bool(struct rest_db_call *c, const char *name, struct admin_change *out)
{
	const json_t *v = json_object_get(c->body, name);

	*out = (struct admin_change){ .given = v != NULL };
	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_boolean(v)) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "%s: true or false, or null: as the settings say.", name);
		return false;
	}
	out->to = (struct admin_number){ .own = true, .value = json_is_true(v) ? 1 : 0 };
	return true;
}

/* Adds one name to the set; false when it is none, or there already. */
static bool add_name(const char *word, const char *const *names, size_t count, unsigned *set)
{
	for (size_t i = 0; word != NULL && i < count; i++) {
		if (strcmp(word, names[i]) != 0)
			continue;
		bool first = (*set & 1u << i) == 0;
		*set |= 1u << i;
		return first;
	}
	return false;
}

bool rest_names(struct rest_db_call *c, const char *name, const char *const *names, size_t count, bool *given,
                unsigned *set)
{
	const json_t *v = field(c, name);
	char list[WORD_MAX] = "";
	bool right = v == NULL || json_is_array(v);
	size_t n = 0;

	*given = v != NULL;
	*set = 0;
	for (size_t i = 0; right && i < json_array_size(v); i++)
		right = add_name(json_string_value(json_array_get(v, i)), names, count, set);
	if (right)
		return true;
	for (size_t i = 0; i < count && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i > 0 ? ", " : "", names[i]);
	rest_deny(c, PROBLEM_BAD_REQUEST, "%s: a list of some of %s, each at most once.", name, list);
	return false;
}

bool rest_arg_number(struct rest_db_call *c, size_t i, uint64_t least, uint64_t most, uint64_t *out)
{
	uint64_t value = 0;

	if (!c->given[i])
		return true;
	if (sv_to_u64(sv_str(c->args[i]), &value) == ERR_OK && value >= least && value <= most) {
		*out = value;
		return true;
	}
	rest_deny(c, PROBLEM_BAD_REQUEST, "%s: a whole number from %" PRIu64 " to %" PRIu64 ".", c->route->args[i],
	          least, most);
	return false;
}
