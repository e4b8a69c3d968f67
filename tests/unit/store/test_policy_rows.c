/* Rows as PostgreSQL gives them, to records: what is missing, what is at its bounds, and what is refused. */
/* LDFLAGS: -Wl,--wrap=pg_result_value,--wrap=pg_result_null,--wrap=pg_result_u64,--wrap=pg_result_i64 */
/* LDFLAGS: -Wl,--wrap=pg_result_bool */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/policy_rows.h"

#define COLUMNS 22

/* One row; NULL is SQL NULL. */
struct pg_result {
	const char *cells[COLUMNS];
};

struct sv __wrap_pg_result_value(const struct pg_result *r, size_t row, size_t col);
bool __wrap_pg_result_null(const struct pg_result *r, size_t row, size_t col);
enum err __wrap_pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out);
enum err __wrap_pg_result_i64(const struct pg_result *r, size_t row, size_t col, int64_t *out);
enum err __wrap_pg_result_bool(const struct pg_result *r, size_t row, size_t col, bool *out);

struct sv __wrap_pg_result_value(const struct pg_result *r, size_t row, size_t col)
{
	assert_int_equal(row, 0);
	assert_true(col < COLUMNS);
	return sv_str(r->cells[col]);
}

bool __wrap_pg_result_null(const struct pg_result *r, size_t row, size_t col)
{
	return __wrap_pg_result_value(r, row, col).p == NULL;
}

enum err __wrap_pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out)
{
	*out = 0;
	return sv_to_u64(__wrap_pg_result_value(r, row, col), out);
}

enum err __wrap_pg_result_i64(const struct pg_result *r, size_t row, size_t col, int64_t *out)
{
	uint64_t value = 0;
	enum err err = __wrap_pg_result_u64(r, row, col, &value);

	*out = (int64_t)value;
	return err;
}

enum err __wrap_pg_result_bool(const struct pg_result *r, size_t row, size_t col, bool *out)
{
	struct sv v = __wrap_pg_result_value(r, row, col);
	*out = sv_eq(v, SV("t"));
	return *out || sv_eq(v, SV("f")) ? ERR_OK : ERR_INVALID;
}

/* id, is_active; minute, hour, burst, shadow × 2; requests, MB, day, shadow × 2; allow; storage; five bounds, expires,
 * presets; sources. */
static const struct pg_result bare = { { "7", "t" } };
static const struct pg_result full = {
	{ "9223372036854775807",
	  "f",
	  "60",
	  "3600",
	  "90",
	  "t",
	  "f",
	  "1000000000000000",
	  "10240",
	  "31",
	  "t",
	  "f",
	  "10.0.0.0/8,192.0.2.7/32,2001:db8::/32",
	  "512",
	  "4096",
	  "1500",
	  "2000",
	  "250",
	  "85",
	  "t",
	  "thumb,wide.2",
	  "https://a.example/ s3://b/c/" },
};

static struct policy_user_row row;

static int teardown(void **state)
{
	(void)state;
	policy_rows_free(&row);
	assert_null(row.user);
	return 0;
}

static const struct policy_user *read_row(const struct pg_result *r)
{
	uint64_t id = 0;

	assert_int_equal(policy_rows_user(r, 0, &id, &row), ERR_OK);
	assert_int_equal(row.user->version, POLICY_LAYOUT);
	assert_true(policy_user_whole(row.user, row.size));
	return row.user;
}

static bool allows(const struct policy_user *u, const char *address)
{
	struct cidr c;
	assert_int_equal(cidr_parse(sv_str(address), &c), ERR_OK);
	return cidr_set_contains(policy_user_allow(u).p, policy_user_allow(u).n, c.addr);
}

/* The entries of a list with blanks between them, as far as they are whole. */
static const char *entries(struct sv list)
{
	static char text[POLICY_SOURCES_MAX * (POLICY_SOURCE_MAX + 1) + 1];
	char *end = text;

	while (list.n > 0) {
		uint16_t n = 0;
		assert_true(list.n >= sizeof(n));
		memcpy(&n, list.p, sizeof(n));
		list = sv_skip(list, sizeof(n));
		assert_true(n <= list.n);
		memcpy(end, list.p, n);
		list = sv_skip(list, n);
		end += n;
		*end++ = ' ';
	}
	end[end > text ? -1 : 0] = '\0';
	return text;
}

static void test_without_rows_of_limits(void **state)
{
	uint64_t id = 0;

	(void)state;
	assert_int_equal(policy_rows_user(&bare, 0, &id, &row), ERR_OK);
	assert_int_equal(id, 7);
	const struct policy_user *u = read_row(&bare);
	assert_int_equal(u->flags, USER_ACTIVE);
	assert_true(u->per_minute == POLICY_DEFAULT && u->per_hour == POLICY_DEFAULT);
	assert_true(u->month_requests == POLICY_DEFAULT && u->month_bytes == POLICY_DEFAULT);
	assert_int_equal(u->burst, 0);
	assert_int_equal(u->reset_day, 0);
	assert_int_equal(u->allow_bytes, 0);
	assert_int_equal(row.size, sizeof(*u));
	assert_true(u->storage_bytes == POLICY_DEFAULT);
	assert_int_equal(u->image_flags, 0);
	assert_true(u->max_dimension == POLICY_BOUND_DEFAULT && u->max_dpr == POLICY_BOUND_DEFAULT);
	assert_true(u->max_zoom == POLICY_BOUND_DEFAULT && u->max_blur == POLICY_BOUND_DEFAULT);
	assert_true(u->max_quality == POLICY_BOUND_DEFAULT);
}

static void test_all_columns(void **state)
{
	uint64_t id = 0;

	(void)state;
	assert_int_equal(policy_rows_user(&full, 0, &id, &row), ERR_OK);
	assert_true(id == INT64_MAX);
	const struct policy_user *u = read_row(&full);
	assert_int_equal(u->flags, USER_SHADOW_MINUTE | USER_SHADOW_REQUESTS);
	assert_int_equal(u->per_minute, 60);
	assert_int_equal(u->per_hour, 3600);
	assert_int_equal(u->burst, 90);
	assert_true(u->month_requests == UINT64_C(1000000000000000));
	assert_true(u->month_bytes == UINT64_C(10240) << 20);
	assert_int_equal(u->reset_day, 31);
	assert_int_equal(u->allow_bytes, 8 + 2 * 5 + 17);
	assert_true(allows(u, "10.1.2.3") && allows(u, "192.0.2.7") && allows(u, "2001:db8::1"));
	assert_false(allows(u, "192.0.2.8") || allows(u, "::1"));
	assert_true(u->storage_bytes == UINT64_C(512) << 20);
	assert_int_equal(u->max_dimension, 4096);
	assert_int_equal(u->max_dpr, 1500);
	assert_int_equal(u->max_zoom, 2000);
	assert_int_equal(u->max_blur, 250);
	assert_int_equal(u->max_quality, 85);
	assert_int_equal(u->image_flags, USER_IMAGE_REQUIRE_EXPIRES);
	assert_string_equal(entries(policy_user_sources(u)), "https://a.example/ s3://b/c/");
	assert_string_equal(entries(policy_user_presets(u)), "thumb wide.2");
}

static void test_expires(void **state)
{
	struct pg_result r = bare;

	(void)state;
	r.cells[19] = "f";
	assert_int_equal(read_row(&r)->image_flags, USER_IMAGE_NO_EXPIRES_REQUIRED);
	r.cells[19] = "t";
	assert_int_equal(read_row(&r)->image_flags, USER_IMAGE_REQUIRE_EXPIRES);
	r.cells[19] = NULL;
	assert_int_equal(read_row(&r)->image_flags, 0);
}

/* Each flag comes from its own column. */
static void test_shadow_flags(void **state)
{
	static const struct {
		size_t column;
		uint8_t flag;
	} flags[] = {
		{ 5, USER_SHADOW_MINUTE },
		{ 6, USER_SHADOW_HOUR },
		{ 10, USER_SHADOW_REQUESTS },
		{ 11, USER_SHADOW_BANDWIDTH },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct pg_result r = bare;
		r.cells[flags[i].column] = "t";
		assert_int_equal(read_row(&r)->flags, USER_ACTIVE | flags[i].flag);
		r.cells[flags[i].column] = "f";
		assert_int_equal(read_row(&r)->flags, USER_ACTIVE);
	}
}

static void test_bandwidth_saturates(void **state)
{
	static const struct {
		const char *mb;
		uint64_t bytes;
	} values[] = {
		{ "0", 0 },
		{ "1", UINT64_C(1) << 20 },
		{ "8796093022207", UINT64_C(8796093022207) << 20 },
		{ "17592186044415", UINT64_C(17592186044415) << 20 },
		{ "17592186044416", POLICY_DEFAULT - 1 },
		{ "9223372036854775807", POLICY_DEFAULT - 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct pg_result r = bare;
		r.cells[8] = values[i].mb;
		assert_true(read_row(&r)->month_bytes == values[i].bytes);
		assert_true(row.user->storage_bytes == POLICY_DEFAULT);
		r.cells[13] = values[i].mb;
		r.cells[8] = NULL;
		assert_true(read_row(&r)->storage_bytes == values[i].bytes);
		assert_true(row.user->month_bytes == POLICY_DEFAULT);
	}
}

/* A limit of 0 is none, which is another thing than a limit that is not set. */
static void test_no_limit(void **state)
{
	struct pg_result r = bare;

	(void)state;
	r.cells[2] = r.cells[3] = r.cells[7] = r.cells[8] = "0";
	const struct policy_user *u = read_row(&r);
	assert_true(u->per_minute == 0 && u->per_hour == 0 && u->month_requests == 0 && u->month_bytes == 0);
}

/* Whatever cannot be read makes no record at all: none that allows more. */
static void test_refused(void **state)
{
	static const struct {
		size_t column;
		const char *value;
	} bad[] = {
		{ 0, "-7" },
		{ 0, NULL },
		{ 1, NULL },
		{ 1, "yes" },
		{ 2, "-1" },
		{ 3, "1.5" },
		{ 4, "-1" },
		{ 5, "1" },
		{ 7, "many" },
		{ 8, "-1" },
		{ 9, "32" },
		{ 9, "-1" },
		{ 9, "257" },
		{ 11, "" },
		{ 12, "" },
		{ 12, "," },
		{ 12, "10.0.0.0/8," },
		{ 12, "10.0.0.0/8, 11.0.0.0/8" },
		{ 12, "10.0.0.0/8,11.0.0.1/8" },
		{ 12, "what" },
		{ 12, "{10.0.0.0/8}" },
		{ 13, "-1" },
		{ 14, "4294967296" },
		{ 15, "1.5" },
		{ 16, "-1" },
		{ 17, "x" },
		{ 18, "" },
		{ 19, "on" },
		{ 20, "," },
		{ 20, "thumb," },
		{ 20, ",thumb" },
		{ 20, "a234567890123456789012345678901234567890123456789012345678901234x" },
		{ 21, " " },
		{ 21, "https://a.example/ " },
		{ 21, "https://a.example/  https://b.example/" },
	};
	uint64_t id;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pg_result r = full;
		r.cells[bad[i].column] = bad[i].value;
		if (policy_rows_user(&r, 0, &id, &row) != ERR_INVALID)
			fail_msg("column %zu with %s made a record", bad[i].column, bad[i].value);
	}
	(void)read_row(&full);
}

/* One buffer for lists of all lengths, up and down again. */
static void test_lists_of_any_length(void **state)
{
	static const int lengths[] = { 1, 64, 65, 5000, 3, 0, 20000, 1 };
	char *text = malloc(20000 * 20);
	char address[32];

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct pg_result r = bare;
		size_t n = 0;
		for (int k = 0; k < lengths[i]; k++)
			n += (size_t)sprintf(text + n, "%s10.%d.%d.4/32", k > 0 ? "," : "", k / 256, k % 256);
		r.cells[12] = lengths[i] > 0 ? text : NULL;
		const struct policy_user *u = read_row(&r);
		assert_int_equal(u->allow_bytes, lengths[i] > 0 ? 8 + 5 * lengths[i] : 0);
		for (int k = 0; k < lengths[i]; k += 97) {
			snprintf(address, sizeof(address), "10.%d.%d.4", k / 256, k % 256);
			assert_true(allows(u, address));
		}
		assert_false(allows(u, "10.255.0.4"));
	}
	free(text);
}

/* `count` items of `n` bytes with `sep` between them; free() it. */
static char *repeat(size_t count, size_t n, char sep)
{
	char *text = malloc(count * (n + 1) + 1), *end = text;

	assert_non_null(text);
	for (size_t i = 0; i < count; i++) {
		memset(end, 'a' + (int)(i % 26), n);
		end[n] = sep;
		end += n + 1;
	}
	end[-1] = '\0';
	return text;
}

/* As many as a user may have, and one more. */
static void test_lists_at_their_bounds(void **state)
{
	char *most = repeat(POLICY_SOURCES_MAX, POLICY_SOURCE_MAX, ' ');
	char *more = repeat(POLICY_SOURCES_MAX + 1, 8, ' ');
	char *longer = repeat(1, POLICY_SOURCE_MAX + 1, ' ');
	char *names = repeat(POLICY_PRESETS_MAX, POLICY_PRESET_MAX, ',');
	char *more_names = repeat(POLICY_PRESETS_MAX + 1, 1, ',');
	const char *const wrong[][2] = { { more, NULL }, { longer, NULL }, { NULL, more_names } };
	struct pg_result r = full;
	uint64_t id;

	(void)state;
	r.cells[21] = most;
	r.cells[20] = names;
	const struct policy_user *u = read_row(&r);
	assert_string_equal(entries(policy_user_sources(u)), most);
	for (char *p = names; (p = strchr(p, ',')) != NULL;)
		*p = ' ';
	assert_string_equal(entries(policy_user_presets(u)), names);
	assert_true(allows(u, "10.1.2.3"));
	/* What record.h promises of a record without its allow list. */
	assert_true(row.size - u->allow_bytes < 520 * 1024);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		r = full;
		r.cells[21] = wrong[i][0];
		r.cells[20] = wrong[i][1];
		assert_int_equal(policy_rows_user(&r, 0, &id, &row), ERR_INVALID);
	}
	/* And short again; an empty array is no name. */
	r = bare;
	r.cells[20] = "";
	assert_int_equal(read_row(&r)->presets_bytes, 0);
	assert_int_equal(row.size, sizeof(*row.user));
	free(most);
	free(more);
	free(longer);
	free(names);
	free(more_names);
}

/* ---- keys ---- */

#define HASH "abababababababababababababababababababababababababababababababab"

static void test_key(void **state)
{
	char signing[2 * SEALED_SIZE + 3];
	struct pg_result r = { { "9", "7", HASH, "read,upload", "t" } };
	union policy_key_row key;
	uint64_t id = 0;
	size_t size = 0;

	(void)state;
	assert_int_equal(policy_rows_key(&r, 0, &id, &key, &size), ERR_OK);
	assert_int_equal(id, 9);
	assert_int_equal(size, 56);
	assert_true(policy_key_whole(&key.key, size));
	assert_int_equal(key.key.version, POLICY_LAYOUT);
	assert_int_equal(key.key.flags, KEY_ACTIVE | KEY_USABLE);
	assert_int_equal(key.key.user_id, 7);
	assert_int_equal(key.key.expires_at, 0);
	assert_null(policy_key_signing(&key.key).p);
	for (size_t i = 0; i < SEALED_SIZE + 1; i++)
		snprintf(signing + 2 * i, 3, "%02x", (unsigned)i);
	signing[(size_t)2 * SEALED_SIZE] = '\0';
	r.cells[5] = "1800000000";
	r.cells[6] = signing;
	assert_int_equal(policy_rows_key(&r, 0, &id, &key, &size), ERR_OK);
	assert_int_equal(size, 56 + 92);
	assert_true(policy_key_whole(&key.key, size));
	assert_int_equal(key.key.expires_at, 1800000000);
	struct sv sealed = policy_key_signing(&key.key);
	assert_int_equal(sealed.n, SEALED_SIZE);
	for (size_t i = 0; i < SEALED_SIZE; i++)
		assert_int_equal((uint8_t)sealed.p[i], i);
	/* A key with a signing key that cannot be one is as one without. */
	signing[(size_t)2 * SEALED_SIZE - 2] = '\0';
	assert_int_equal(policy_rows_key(&r, 0, &id, &key, &size), ERR_OK);
	assert_int_equal(size, 56);
	assert_int_equal(key.key.signing_bytes, 0);
	assert_int_equal(key.key.flags, KEY_ACTIVE | KEY_USABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_without_rows_of_limits, teardown),
		cmocka_unit_test_teardown(test_all_columns, teardown),
		cmocka_unit_test_teardown(test_shadow_flags, teardown),
		cmocka_unit_test_teardown(test_bandwidth_saturates, teardown),
		cmocka_unit_test_teardown(test_no_limit, teardown),
		cmocka_unit_test_teardown(test_refused, teardown),
		cmocka_unit_test_teardown(test_lists_of_any_length, teardown),
		cmocka_unit_test_teardown(test_lists_at_their_bounds, teardown),
		cmocka_unit_test_teardown(test_expires, teardown),
		cmocka_unit_test(test_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
