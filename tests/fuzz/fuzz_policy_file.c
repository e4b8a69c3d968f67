/* ROOM: cli */
/*
 * Policy files: whatever bytes they are, they are read or refused, and what is read can be written down, as if it came
 * from the database, so that it is the same when it is read again. The input is read as it is and cut in two.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/policy_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char * or (const char *text, const char *otherwise)
{
	return text != NULL ? text : otherwise;
}

/* What the database would hold after it: every field has a value, and every key an id. */
static void complete(struct admin_policy *p)
{
	uint64_t id = 1;

	for (size_t i = 0; i < p->users_count; i++) {
		struct admin_policy_user *u = &p->users[i];
		char email[48];
		snprintf(email, sizeof(email), "%zu@fuzz.example", i);
		for (size_t f = 0; f < FIELDS; f++)
			u->values[f] = or (u->values[f], admin_field_default((enum admin_field)f));
		u->values[FIELD_EMAIL] = admin_policy_text(&p->texts, sv_str(email));
		for (size_t k = 0; k < u->keys.count; k++) {
			static const char *const otherwise[KEY_FIELDS] = { NULL, "read", ADMIN_KEY_NEVER, "false",
				                                           "false" };
			u->keys.items[k].id = id++;
			for (size_t f = 0; f < KEY_FIELDS; f++)
				u->keys.items[k].values[f] = or (u->keys.items[k].values[f], otherwise[f]);
		}
	}
	for (size_t i = 0; i < p->backends_count; i++) {
		p->backends[i].url = or (p->backends[i].url, "http://h:1");
		p->backends[i].weight = or (p->backends[i].weight, "1");
	}
	p->users_given = p->backends_given = true;
	admin_policy_sort(p);
}

static void check_same(const struct admin_policy *p, const char *text, size_t size, struct admin_policy_errors *errors)
{
	struct admin_policy again = { 0 };
	struct admin_policy_diff diff;

	policy_file_read(text, size, &again, errors);
	CHECK(errors->count == 0);
	admin_policy_compare(p, &again, true, errors, &diff);
	CHECK(errors->count == 0 && diff.count == 0);
	admin_policy_diff_free(&diff);
	admin_policy_free(&again);
}

static void read_and_write(const char *data, size_t size, struct admin_policy_errors *errors)
{
	struct admin_policy p = { 0 };
	char *text = NULL;
	size_t n = 0;

	errors->count = 0;
	policy_file_read(data, size, &p, errors);
	if (errors->count == 0) {
		complete(&p);
		FILE *f = open_memstream(&text, &n);
		CHECK(f != NULL);
		policy_file_write(f, &p);
		CHECK(fclose(f) == 0);
		check_same(&p, text, n, errors);
		free(text);
		json_t *v = policy_file_json(&p);
		text = json_dumps(v, JSON_COMPACT);
		CHECK(text != NULL);
		check_same(&p, text, strlen(text), errors);
		free(text);
		json_decref(v);
	}
	admin_policy_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct admin_policy_errors *errors = check_calloc(1, sizeof(*errors));
	size_t cut = size > 0 ? data[size / 2] % size : 0;

	errors->file = "fuzz";
	read_and_write((const char *)data, size, errors);
	read_and_write((const char *)data, cut, errors);
	free(errors);
	return 0;
}
