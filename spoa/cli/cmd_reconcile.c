#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "cli/args.h"
#include "cli/output.h"
#include "cli/reconcile.h"
#include "store/admin_json.h"
#include "store/admin_user.h"

enum { OPTION_FIX = 0, OPTION_FROM, OPTION_TO, OPTION_USER };

#define LOOKS       5
#define DETAILS_MAX 1000 /* differences in the row of the run */

void reconcile_note(struct reconcile *r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	CHECK(json_array_append_new(r->notes, admin_json_text(text)) == 0);
}

static enum err list(struct reconcile *r, enum admin_reconcile_part part, json_t **out)
{
	struct pg_result *rows;

	*out = json_array();
	enum err err = admin_reconcile_list(r->call->db, part, &r->interval, &rows, r->error);
	if (err != ERR_OK)
		return err;
	for (size_t i = 0; i < pg_result_rows(rows); i++) {
		json_t *v = json_loads(pg_result_value(rows, i, 2).p, 0, NULL);
		if (v != NULL && !pg_result_null(rows, i, 1))
			json_object_set_new(v, "off", json_string(pg_result_value(rows, i, 1).p));
		if (v == NULL || json_array_append_new(*out, v) != 0)
			err = ERR_INVALID;
	}
	pg_result_free(rows);
	return err == ERR_OK ? ERR_OK : admin_fail(r->error, err, "database: unexpected value in the tables of usage");
}

static enum err add_list(struct reconcile *r, enum admin_reconcile_part part)
{
	json_t *found;

	enum err err = list(r, part, &found);
	if (err == ERR_OK)
		CHECK(json_array_extend(r->differences, found) == 0);
	json_decref(found);
	return err;
}

/* ---- counters of quotas, which run ahead of the roll-ups by what is under way ---- */

static json_int_t number(const json_t *difference, const char *what, const char *side)
{
	return json_integer_value(json_object_get(json_object_get(difference, what), side));
}

static enum err positions(struct reconcile *r, char **text)
{
	struct pg_result *rows;

	enum err err = admin_reconcile_positions(r->call->db, &rows, r->error);
	if (err != ERR_OK)
		return err;
	*text = strdup(pg_result_value(rows, 0, 0).p);
	CHECK(*text != NULL);
	pg_result_free(rows);
	return ERR_OK;
}

/* Removes from `before` what is not just as much off in `now`; how many that were. Both are in order of users. */
static size_t keep_what_stays(json_t *before, const json_t *now)
{
	size_t moved = 0, at = 0;

	for (size_t i = 0; i < json_array_size(before);) {
		const json_t *old = json_array_get(before, i), *same = NULL;
		json_int_t user = json_integer_value(json_object_get(old, "user_id"));
		for (; at < json_array_size(now) && same == NULL; at++) {
			const json_t *v = json_array_get(now, at);
			json_int_t other = json_integer_value(json_object_get(v, "user_id"));
			if (other > user)
				break;
			same = other == user ? v : NULL;
		}
		if (same != NULL && json_equal(json_object_get(old, "off"), json_object_get(same, "off"))) {
			json_array_set(before, i++, json_array_get(now, at - 1));
		} else {
			json_array_remove(before, i);
			moved++;
		}
	}
	return moved;
}

/* Whether what HAProxy has under way for the user is the whole difference. */
static bool is_under_way(const struct reconcile *r, const json_t *d)
{
	json_int_t ahead = number(d, "requests", "counter") - number(d, "requests", "rollup");
	uint64_t user = (uint64_t)json_integer_value(json_object_get(d, "user_id"));

	return ahead > 0 && number(d, "billed_bytes", "counter") == number(d, "billed_bytes", "rollup") &&
	       (uint64_t)ahead <= reconcile_in_flight(r, user);
}

/* Looks again until no agent ships between two looks, at most LOOKS times; *stays are those that never moved. */
static enum err look_at_quotas(struct reconcile *r, json_t *stays, size_t *moved)
{
	char *before = NULL, *after = NULL;
	bool shipped = true;

	enum err err = positions(r, &before);
	for (int i = 1; i < LOOKS && err == ERR_OK && shipped && json_array_size(stays) > 0; i++) {
		json_t *now;
		nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
		err = list(r, ADMIN_RECONCILE_QUOTAS, &now);
		if (err == ERR_OK) {
			*moved += keep_what_stays(stays, now);
			err = positions(r, &after);
		}
		json_decref(now);
		if (err == ERR_OK) {
			shipped = strcmp(before, after) != 0;
			free(before);
			before = after;
		}
	}
	free(before);
	return err;
}

static enum err compare_quotas(struct reconcile *r)
{
	size_t moved = 0;
	json_t *stays;

	enum err err = list(r, ADMIN_RECONCILE_QUOTAS, &stays);
	if (err == ERR_OK && json_array_size(stays) > 0)
		err = look_at_quotas(r, stays, &moved);
	for (size_t i = 0; err == ERR_OK && i < json_array_size(stays); i++) {
		json_t *v = json_array_get(stays, i);
		json_object_del(v, "off");
		if (!is_under_way(r, v))
			CHECK(json_array_append(r->differences, v) == 0);
	}
	json_decref(stays);
	if (moved > 0)
		reconcile_note(r, "counters of %zu users were still moving, as requests came and were recorded", moved);
	return err;
}

static enum err compare_moved(struct reconcile *r)
{
	json_t *users;

	enum err err = list(r, ADMIN_RECONCILE_MOVED, &users);
	if (err == ERR_OK && json_array_size(users) > 0)
		reconcile_note(
		        r,
		        "months and counters of %zu users were not compared: their reset day was moved within two "
		        "months",
		        json_array_size(users));
	json_decref(users);
	return err;
}

static enum err compare(struct reconcile *r)
{
	enum err err = add_list(r, ADMIN_RECONCILE_HOURS);
	if (err == ERR_OK)
		err = add_list(r, ADMIN_RECONCILE_MONTHS);
	if (err == ERR_OK)
		err = compare_moved(r);
	if (err == ERR_OK)
		err = reconcile_haproxy(r);
	return err == ERR_OK ? compare_quotas(r) : err;
}

/* ---- mending ---- */

static bool is_part(const json_t *difference, const char *part)
{
	return strcmp(json_string_value(json_object_get(difference, "part")), part) == 0;
}

/* The users whose counter of requests is too low, as {1,2}. */
static char *low_counters(const json_t *differences)
{
	char *text = NULL;
	size_t n, count = 0;
	FILE *f = open_memstream(&text, &n);

	CHECK(f != NULL);
	fputc('{', f);
	for (size_t i = 0; i < json_array_size(differences); i++) {
		const json_t *d = json_array_get(differences, i);
		if (is_part(d, "quotas") && number(d, "requests", "counter") < number(d, "requests", "rollup"))
			fprintf(f, "%s%" JSON_INTEGER_FORMAT, count++ > 0 ? "," : "",
			        json_integer_value(json_object_get(d, "user_id")));
	}
	fputc('}', f);
	CHECK(fclose(f) == 0);
	return text;
}

/* Of the differences that were found: whether they are mended now. A counter of requests that is too high stays. */
static uint64_t tell_fixed(struct reconcile *r)
{
	uint64_t fixed = 0;

	for (size_t i = 0; i < json_array_size(r->differences); i++) {
		json_t *d = json_array_get(r->differences, i);
		bool left = is_part(d, "quotas") && number(d, "requests", "counter") > number(d, "requests", "rollup");
		json_object_set_new(d, "fixed", json_boolean(!left));
		fixed += !left;
		if (left)
			reconcile_note(
			        r,
			        "user %" JSON_INTEGER_FORMAT ": the counter of requests stays at %" JSON_INTEGER_FORMAT
			        ": it is never lowered, for requests may be under way",
			        json_integer_value(json_object_get(d, "user_id")), number(d, "requests", "counter"));
	}
	return fixed;
}

static enum err mend(struct reconcile *r, struct admin_mended *mended, uint64_t *fixed)
{
	char *raised = low_counters(r->differences);

	enum err err = admin_reconcile_mend(r->call->db, &r->interval, raised, mended, r->error);
	free(raised);
	if (err == ERR_OK)
		*fixed = tell_fixed(r);
	return err;
}

/* ---- the answer ---- */

static const char *text_of(const json_t *difference, const char *name)
{
	const char *text = json_string_value(json_object_get(difference, name));
	return text != NULL ? text : "-";
}

/* ", requests 5 in ROWS and 4 in ROLLUP", for each that differs. */
static void print_sums(FILE *f, const json_t *d, const char *should, const char *should_name, const char *have_name)
{
	static const char *const sums[] = { "requests", "request_bytes", "response_bytes", "billed_bytes",
		                            "active_ms" };

	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
		json_int_t a = number(d, should, sums[i]), b = number(d, "rollup", sums[i]);
		if (a != b)
			fprintf(f, ", %s %" JSON_INTEGER_FORMAT " in %s and %" JSON_INTEGER_FORMAT " in %s", sums[i], a,
			        should_name, b, have_name);
	}
}

static void print_pair(FILE *f, const json_t *d, const char *what, const char *a, const char *b)
{
	if (number(d, what, a) != number(d, what, b))
		fprintf(f, ", %s %" JSON_INTEGER_FORMAT " in %s and %" JSON_INTEGER_FORMAT " in %s", what,
		        number(d, what, a), a, number(d, what, b), b);
}

static void print_place(FILE *f, const json_t *d, const char *when)
{
	fprintf(f, "%s %s, key %" JSON_INTEGER_FORMAT ", %s, %s, backend %s", when, text_of(d, when),
	        json_integer_value(json_object_get(d, "key_id")), text_of(d, "code"), text_of(d, "kind"),
	        text_of(d, "backend"));
}

void reconcile_print(FILE *f, const json_t *d)
{
	const json_t *fixed = json_object_get(d, "fixed");

	fprintf(f, "user %" JSON_INTEGER_FORMAT " (%s): ", json_integer_value(json_object_get(d, "user_id")),
	        text_of(d, "user"));
	if (is_part(d, "hours")) {
		print_place(f, d, "hour");
		print_sums(f, d, "rows", "the rows", "the roll-up");
	} else if (is_part(d, "months")) {
		print_place(f, d, "month");
		print_sums(f, d, "hours", "the hours", "the month");
	} else if (is_part(d, "quotas")) {
		fprintf(f, "quota's month %s", text_of(d, "month"));
		print_pair(f, d, "requests", "rollup", "counter");
		print_pair(f, d, "billed_bytes", "rollup", "counter");
	} else {
		fprintf(f, "since the last mark");
		print_pair(f, d, "requests", "haproxy", "rows");
		if (number(d, "response_bytes", "rows") > number(d, "response_bytes", "haproxy"))
			print_pair(f, d, "response_bytes", "haproxy", "rows");
	}
	fprintf(f, "%s\n", fixed == NULL ? "" : json_is_true(fixed) ? ": mended" : ": left");
}

static void print_text(const struct reconcile *r, uint64_t users, const struct admin_mended *m)
{
	size_t n = json_array_size(r->differences);
	FILE *f = r->call->io->out;

	for (size_t i = 0; i < n; i++)
		reconcile_print(f, json_array_get(r->differences, i));
	for (size_t i = 0; i < json_array_size(r->notes); i++)
		fprintf(f, "note: %s\n", json_string_value(json_array_get(r->notes, i)));
	if (r->fix)
		fprintf(f,
		        "set %" PRIu64 " roll-ups by hour, %" PRIu64 " by month, %" PRIu64
		        " counters of quotas; took %" PRIu64 " of HAProxy's counters as they are\n",
		        m->hours, m->months, m->counters, r->accepted);
	fprintf(f, "from %s to %s: %" PRIu64 " users, %zu differences\n", r->interval.from, r->interval.to, users, n);
}

static void print_json(const struct reconcile *r, uint64_t users, uint64_t fixed, const struct admin_mended *m)
{
	json_t *v = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:O, s:O}", "from", r->interval.from, "to",
	                      r->interval.to, "users", (json_int_t)users, "differences",
	                      (json_int_t)json_array_size(r->differences), "fixed", (json_int_t)fixed,
	                      "haproxy_compared", (int)r->compared_haproxy, "details", r->differences, "notes",
	                      r->notes);

	CHECK(v != NULL);
	if (r->fix)
		json_object_set_new(v, "set",
		                    json_pack("{s:I, s:I, s:I, s:I}", "hours", (json_int_t)m->hours, "months",
		                              (json_int_t)m->months, "counters", (json_int_t)m->counters, "marks",
		                              (json_int_t)r->accepted));
	output_json(r->call->io->out, v);
}

static enum err save(struct reconcile *r, uint64_t users, uint64_t fixed)
{
	size_t n = json_array_size(r->differences);
	json_t *shown = json_array();

	for (size_t i = 0; i < n && i < DETAILS_MAX; i++)
		json_array_append(shown, json_array_get(r->differences, i));
	json_t *v = json_pack("{s:o, s:I, s:O, s:b}", "differences", shown, "left_out",
	                      (json_int_t)(n > DETAILS_MAX ? n - DETAILS_MAX : 0), "notes", r->notes,
	                      "haproxy_compared", (int)r->compared_haproxy);
	char *text = v != NULL ? json_dumps(v, JSON_COMPACT) : NULL;
	CHECK(text != NULL);
	enum err err = admin_reconcile_save(r->call->db, &r->interval, users, n, fixed, text, r->error);
	free(text);
	json_decref(v);
	return err;
}

static enum cli_exit run(struct reconcile *r)
{
	struct admin_mended mended = { 0 };
	uint64_t users = 0, fixed = 0;

	if (r->interval.cut)
		reconcile_note(r, "raw rows before %s were dropped: nothing is compared before that", r->interval.from);
	enum err err = admin_reconcile_users(r->call->db, &r->interval, &users, r->error);
	if (err == ERR_OK)
		err = compare(r);
	if (err == ERR_OK && r->fix)
		err = mend(r, &mended, &fixed);
	if (err == ERR_OK)
		err = save(r, users, fixed);
	if (err != ERR_OK)
		return cli_refuse(r->call, "%s", r->error);
	if (r->call->json)
		print_json(r, users, fixed, &mended);
	else
		print_text(r, users, &mended);
	size_t n = json_array_size(r->differences);
	if (n == fixed)
		return CLI_DONE;
	return r->fix ? cli_refuse(r->call, "%zu of %zu differences are left", n - (size_t)fixed, n)
	              : cli_refuse(r->call, "%zu differences", n);
}

enum cli_exit cmd_reconcile(struct cli_call *call)
{
	struct reconcile r = { .call = call, .fix = call->options[OPTION_FIX] != NULL };
	const char *user = call->options[OPTION_USER];
	char hours[2][ARGS_HOUR_MAX], id[ADMIN_ID_MAX];
	const char *ends[2] = { call->options[OPTION_FROM], call->options[OPTION_TO] };

	for (int i = 0; i < 2; i++) {
		if (ends[i] == NULL)
			continue;
		if (args_hour(ends[i], hours[i]) != ERR_OK)
			return cli_refuse(call, "%s %s: a day as 2026-01-31, or an hour as 2026-01-31T13:00Z",
			                  i == 0 ? "--from" : "--to", ends[i]);
		ends[i] = hours[i];
	}
	if (user != NULL && admin_user_id(call->db, user, id, r.error) != ERR_OK)
		return cli_refuse(call, "%s", r.error);
	if (admin_reconcile_interval(call->db, ends[0], ends[1], user != NULL ? id : NULL, &r.interval, r.error) !=
	    ERR_OK)
		return cli_refuse(call, "%s", r.error);
	r.differences = json_array();
	r.notes = json_array();
	enum cli_exit code = run(&r);
	haproxy_table_free(&r.table);
	json_decref(r.differences);
	json_decref(r.notes);
	return code;
}
