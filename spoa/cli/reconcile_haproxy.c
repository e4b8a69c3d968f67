#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "cli/output.h"
#include "cli/reconcile.h"
#include "store/admin_json.h"

#define ASK_TIMEOUT_MS 20000
#define LOOKS          5
#define HELD_FOR       "2 days" /* rows that come later than this after their request are not seen here */
#define START_TO_TRACK "10 seconds"

enum state { STATE_PENDING = 0, STATE_EQUAL, STATE_NEW, STATE_SMALLER, STATE_REQUESTS, STATE_BYTES };

/* A user's counter as it was at the last look; `ended` requests are those that are not under way. */
struct tally {
	uint64_t user;
	uint64_t ended, sent, in_flight;
	uint64_t rows, recent_rows, recent_bytes;
	int64_t counted, found, bytes_sent, row_bytes; /* since the mark */
	bool seen;
	enum state state;
};

struct tallies {
	struct tally *items; /* by rising user */
	size_t count;
	bool newcomers; /* users came up after the first look */
};

/* Numbers as PostgreSQL reads an array: {1,2}. */
struct list {
	FILE *f;
	char *text;
	size_t n;
	size_t count;
};

static void list_open(struct list *l)
{
	memset(l, 0, sizeof(*l));
	l->f = open_memstream(&l->text, &l->n);
	CHECK(l->f != NULL);
	fputc('{', l->f);
}

static void list_add(struct list *l, uint64_t value)
{
	fprintf(l->f, "%s%" PRIu64, l->count++ > 0 ? "," : "", value);
}

static void list_end(struct list *l)
{
	fputc('}', l->f);
	CHECK(fclose(l->f) == 0 && l->text != NULL);
	l->f = NULL;
}

static const struct haproxy_counter *find_counter(const struct haproxy_table *t, uint64_t user)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (t->items[mid].key < user)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->count && t->items[low].key == user ? &t->items[low] : NULL;
}

uint64_t reconcile_in_flight(const struct reconcile *r, uint64_t user_id)
{
	const struct haproxy_counter *c = find_counter(&r->table, user_id);
	return c != NULL ? c->in_flight : 0;
}

static enum err ask_process(const char *path, char process[HAPROXY_PROCESS_MAX], char *error, size_t size)
{
	char *answer;
	size_t n;

	enum err err = haproxy_socket_ask(path, "show info", ASK_TIMEOUT_MS, &answer, &n, error, size);
	if (err != ERR_OK)
		return err;
	err = haproxy_info_process(sv_from(answer, n), process);
	free(answer);
	if (err != ERR_OK)
		snprintf(error, size, "%s: this is no answer of HAProxy's to `show info`", path);
	return err;
}

static enum err ask_table(const char *path, struct haproxy_table *table, char *error, size_t size)
{
	char *answer;
	size_t n;

	enum err err = haproxy_socket_ask(path, "show table st_user", ASK_TIMEOUT_MS, &answer, &n, error, size);
	if (err != ERR_OK)
		return err;
	err = haproxy_table_parse(sv_from(answer, n), table);
	free(answer);
	if (err == ERR_NOT_FOUND)
		snprintf(error, size, "%s: HAProxy has no stick table st_user", path);
	else if (err != ERR_OK)
		snprintf(error, size, "%s: this is no answer of HAProxy's to `show table`", path);
	return err;
}

enum err reconcile_read_haproxy(struct reconcile *r, char process[HAPROXY_PROCESS_MAX])
{
	const char *path = r->call->settings->haproxy_socket;
	struct haproxy_table table;
	char error[512];

	if (path[0] == '\0') {
		reconcile_note(r, "HAProxy's counters were not compared: the setting haproxy.socket is empty");
		return ERR_NOT_FOUND;
	}
	enum err err = ask_process(path, process, error, sizeof(error));
	if (err == ERR_OK)
		err = ask_table(path, &table, error, sizeof(error));
	if (err != ERR_OK) {
		reconcile_note(r, "HAProxy's counters were not compared: %s", error);
		return ERR_NOT_FOUND;
	}
	haproxy_table_free(&r->table);
	r->table = table;
	return ERR_OK;
}

/* The users to compare: of the table, and of the run. */
static void begin(const struct reconcile *r, struct tallies *t)
{
	uint64_t only = r->interval.user != NULL ? strtoull(r->interval.user, NULL, 10) : 0;

	t->items = check_calloc(r->table.count + 1, sizeof(*t->items));
	for (size_t i = 0; i < r->table.count; i++)
		if (only == 0 || r->table.items[i].key == only)
			t->items[t->count++].user = r->table.items[i].key;
}

static void get_number(const struct pg_result *rows, size_t row, size_t col, int64_t *out, enum err *err)
{
	if (*err == ERR_OK)
		*err = pg_result_i64(rows, row, col, out);
}

/* What a look says of a user: equal is equal, and whatever else is so when it has not moved since the look before. */
static enum err judge(struct tally *t, const struct haproxy_counter *c, const struct pg_result *rows, size_t row)
{
	struct sv state = pg_result_value(rows, row, 1);
	int64_t user = 0, all = 0, recent = 0, recent_bytes = 0;
	uint64_t ended = c->requests - c->in_flight;
	bool bytes_known = false;
	enum err err = ERR_OK;

	get_number(rows, row, 0, &user, &err);
	get_number(rows, row, 2, &t->counted, &err);
	get_number(rows, row, 3, &t->found, &err);
	get_number(rows, row, 4, &t->bytes_sent, &err);
	get_number(rows, row, 5, &t->row_bytes, &err);
	get_number(rows, row, 7, &all, &err);
	get_number(rows, row, 8, &recent, &err);
	get_number(rows, row, 9, &recent_bytes, &err);
	if (err == ERR_OK)
		err = pg_result_bool(rows, row, 6, &bytes_known);
	if (err != ERR_OK)
		return err;
	CHECK((uint64_t)user == t->user);
	bool still = t->seen && t->ended == ended && t->rows == (uint64_t)all;
	t->seen = true;
	t->ended = ended;
	t->sent = c->bytes_out;
	t->in_flight = c->in_flight;
	t->rows = (uint64_t)all;
	t->recent_rows = (uint64_t)recent;
	t->recent_bytes = (uint64_t)recent_bytes;
	if (sv_eq(state, SV("equal")))
		t->state = bytes_known && t->row_bytes > t->bytes_sent ? STATE_BYTES : STATE_EQUAL;
	else if (still)
		t->state = sv_eq(state, SV("new"))       ? STATE_NEW
		           : sv_eq(state, SV("smaller")) ? STATE_SMALLER
		                                         : STATE_REQUESTS;
	return ERR_OK;
}

/* A counter that HAProxy dropped meanwhile is 0. */
static const struct haproxy_counter *counter_of(const struct reconcile *r, uint64_t user)
{
	static const struct haproxy_counter none = { 0 };
	const struct haproxy_counter *c = find_counter(&r->table, user);
	return c != NULL && c->requests >= c->in_flight ? c : &none;
}

/* Compares those who are pending; *pending is how many are so still. */
static enum err look(struct reconcile *r, struct tallies *t, const char *process, const char *since, size_t *pending)
{
	struct list ids, ended, sent;
	struct pg_result *rows;
	size_t row = 0;

	list_open(&ids);
	list_open(&ended);
	list_open(&sent);
	for (size_t i = 0; i < t->count; i++) {
		if (t->items[i].state != STATE_PENDING)
			continue;
		const struct haproxy_counter *c = counter_of(r, t->items[i].user);
		list_add(&ids, t->items[i].user);
		list_add(&ended, c->requests - c->in_flight);
		list_add(&sent, c->bytes_out);
	}
	list_end(&ids);
	list_end(&ended);
	list_end(&sent);
	enum err err = admin_reconcile_compare(r->call->db, process, ids.text, ended.text, sent.text, since, &rows,
	                                       r->error);
	free(ids.text);
	free(ended.text);
	free(sent.text);
	if (err != ERR_OK)
		return err;
	CHECK(pg_result_rows(rows) == ids.count);
	*pending = 0;
	for (size_t i = 0; i < t->count && err == ERR_OK; i++) {
		if (t->items[i].state != STATE_PENDING)
			continue;
		err = judge(&t->items[i], counter_of(r, t->items[i].user), rows, row++);
		*pending += t->items[i].state == STATE_PENDING;
	}
	pg_result_free(rows);
	return err == ERR_OK ? ERR_OK : admin_fail(r->error, err, "database: unexpected value in a comparison");
}

static bool is_difference(const struct tally *t)
{
	return t->state == STATE_REQUESTS || t->state == STATE_BYTES;
}

static enum err set_marks(struct reconcile *r, const struct tallies *t, const char *process, const char *since)
{
	enum { IDS = 0, ENDED, SENT, FLYING, ROWS, BYTES, LISTS };
	struct list l[LISTS];

	for (size_t k = 0; k < LISTS; k++)
		list_open(&l[k]);
	for (size_t i = 0; i < t->count; i++) {
		const struct tally *one = &t->items[i];
		if (one->state == STATE_PENDING || (is_difference(one) && !r->fix))
			continue;
		list_add(&l[IDS], one->user);
		list_add(&l[ENDED], one->ended);
		list_add(&l[SENT], one->sent);
		list_add(&l[FLYING], one->in_flight);
		list_add(&l[ROWS], one->recent_rows);
		list_add(&l[BYTES], one->recent_bytes);
	}
	for (size_t k = 0; k < LISTS; k++)
		list_end(&l[k]);
	enum err err = admin_reconcile_mark(r->call->db, process, l[IDS].text, l[ENDED].text, l[SENT].text,
	                                    l[FLYING].text, since, l[ROWS].text, l[BYTES].text, r->error);
	for (size_t k = 0; k < LISTS; k++)
		free(l[k].text);
	return err;
}

static const char *name_of(const struct pg_result *names, uint64_t user)
{
	uint64_t id;

	for (size_t i = 0; i < pg_result_rows(names); i++)
		if (pg_result_u64(names, i, 0, &id) == ERR_OK && id == user)
			return pg_result_value(names, i, 1).p;
	return NULL;
}

static enum err add_differences(struct reconcile *r, const struct tallies *t, const char *process)
{
	struct pg_result *names;
	struct list ids;

	list_open(&ids);
	for (size_t i = 0; i < t->count; i++)
		if (is_difference(&t->items[i]))
			list_add(&ids, t->items[i].user);
	list_end(&ids);
	enum err err = ids.count > 0 ? admin_reconcile_names(r->call->db, ids.text, &names, r->error) : ERR_OK;
	free(ids.text);
	if (ids.count == 0 || err != ERR_OK)
		return err;
	for (size_t i = 0; i < t->count; i++) {
		const struct tally *one = &t->items[i];
		if (!is_difference(one))
			continue;
		json_t *v = json_pack("{s:s, s:I, s:o, s:s, s:{s:I, s:I}, s:{s:I, s:I}}", "part", "haproxy", "user_id",
		                      (json_int_t)one->user, "user", admin_json_text(name_of(names, one->user)),
		                      "process", process, "requests", "haproxy", (json_int_t)one->counted, "rows",
		                      (json_int_t)one->found, "response_bytes", "haproxy", (json_int_t)one->bytes_sent,
		                      "rows", (json_int_t)one->row_bytes);
		CHECK(v != NULL && json_array_append_new(r->differences, v) == 0);
		r->accepted += r->fix;
	}
	pg_result_free(names);
	return ERR_OK;
}

static void add_notes(struct reconcile *r, const struct tallies *t, const char *process)
{
	size_t count[STATE_BYTES + 1] = { 0 };

	for (size_t i = 0; i < t->count; i++)
		count[t->items[i].state]++;
	if (count[STATE_NEW] > 0)
		reconcile_note(
		        r,
		        "HAProxy (pid@start %s) was started since the last run, or is seen for the first time: its "
		        "counters of %zu users are compared from now on",
		        process, count[STATE_NEW]);
	if (count[STATE_SMALLER] > 0)
		reconcile_note(
		        r,
		        "HAProxy's counters of %zu users are smaller than they were: it forgot them, and they are "
		        "compared anew from now on",
		        count[STATE_SMALLER]);
	if (count[STATE_PENDING] > 0)
		reconcile_note(
		        r,
		        "HAProxy's counters of %zu users were not compared: requests came or were recorded at each "
		        "of %d looks",
		        count[STATE_PENDING], LOOKS);
	if (r->table.count >= r->table.size)
		reconcile_note(r, "HAProxy's table st_user is full (%zu users): it forgets the oldest", r->table.count);
}

/* Whoever has no mark of their own is said to have had no counter at `moment`: that must be so. */
static enum err set_process_mark(struct reconcile *r, const struct tallies *t, const char *process, const char *moment)
{
	if (r->interval.user != NULL || t->newcomers)
		return ERR_OK;
	for (size_t i = 0; i < t->count; i++)
		if (t->items[i].state == STATE_PENDING || (is_difference(&t->items[i]) && !r->fix))
			return ERR_OK;
	return admin_reconcile_mark_process(r->call->db, process, moment, r->error);
}

static enum err compare(struct reconcile *r, struct tallies *t, char process[HAPROXY_PROCESS_MAX])
{
	char since[ADMIN_MOMENT_MAX], moment[ADMIN_MOMENT_MAX], now[HAPROXY_PROCESS_MAX];
	size_t pending = 0, users = r->table.count;

	enum err err = admin_reconcile_clock(r->call->db, HELD_FOR, since, r->error);
	for (int i = 0; i < LOOKS && err == ERR_OK && (i == 0 || pending > 0); i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
		err = admin_reconcile_clock(r->call->db, START_TO_TRACK, moment, r->error);
		if (err != ERR_OK)
			return err;
		if (reconcile_read_haproxy(r, now) != ERR_OK)
			return ERR_OK;
		if (strcmp(now, process) != 0) {
			reconcile_note(r, "HAProxy's counters were not compared: it was started anew just now");
			return ERR_OK;
		}
		t->newcomers = r->table.count != users;
		err = look(r, t, process, since, &pending);
	}
	if (err != ERR_OK)
		return err;
	r->compared_haproxy = true;
	add_notes(r, t, process);
	err = add_differences(r, t, process);
	if (err == ERR_OK)
		err = set_marks(r, t, process, since);
	return err == ERR_OK ? set_process_mark(r, t, process, moment) : err;
}

enum err reconcile_haproxy(struct reconcile *r)
{
	char process[HAPROXY_PROCESS_MAX];
	struct tallies t = { 0 };

	if (reconcile_read_haproxy(r, process) != ERR_OK)
		return ERR_OK;
	begin(r, &t);
	enum err err = compare(r, &t, process);
	free(t.items);
	return err;
}
