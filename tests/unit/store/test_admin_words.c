/* Words and shapes that gatewayctl and the REST interface share. */
#include "unit.h"

#include <stdlib.h>

#include "store/admin_effective.h"
#include "store/admin_json.h"
#include "store/admin_words.h"

static void durations(void **state)
{
	static const struct {
		const char *text;
		enum err err;
		uint64_t seconds;
	} rows[] = {
		{ "1s", ERR_OK, 1 },
		{ "90s", ERR_OK, 90 },
		{ "45m", ERR_OK, 2700 },
		{ "12h", ERR_OK, 43200 },
		{ "30d", ERR_OK, 2592000 },
		{ "36500d", ERR_OK, UINT64_C(3153600000) },
		{ "36501d", ERR_RANGE, 0 },
		{ "3153600000s", ERR_OK, UINT64_C(3153600000) },
		{ "3153600001s", ERR_RANGE, 0 },
		{ "0s", ERR_RANGE, 0 },
		{ "0d", ERR_RANGE, 0 },
		{ "", ERR_INVALID, 0 },
		{ "d", ERR_INVALID, 0 },
		{ "30", ERR_INVALID, 0 },
		{ "-1d", ERR_INVALID, 0 },
		{ "+1d", ERR_INVALID, 0 },
		{ " 1d", ERR_INVALID, 0 },
		{ "1 d", ERR_INVALID, 0 },
		{ "1d1h", ERR_INVALID, 0 },
		{ "1ms", ERR_INVALID, 0 },
		{ "1w", ERR_INVALID, 0 },
		{ "1D", ERR_INVALID, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t seconds = 0;
		assert_int_equal(admin_duration(rows[i].text, &seconds), rows[i].err);
		assert_int_equal(seconds, rows[i].seconds);
	}
	uint64_t kept = 7;
	assert_int_not_equal(admin_duration("99999999999999999999d", &kept), ERR_OK);
	assert_int_equal(kept, 7);
	assert_int_equal(admin_grace(NULL, &kept), ERR_OK);
	assert_int_equal(kept, 0);
	kept = 7;
	assert_int_equal(admin_grace("0s", &kept), ERR_OK);
	assert_int_equal(kept, 0);
	assert_int_equal(admin_grace("24h", &kept), ERR_OK);
	assert_int_equal(kept, 86400);
	assert_int_equal(admin_grace("0d", &kept), ERR_RANGE);
	assert_int_equal(admin_grace("", &kept), ERR_INVALID);
}

static void months(void **state)
{
	static const char *const right[] = { "2026-01", "2026-12", "1999-10", "9999-09" };
	static const char *const wrong[] = { "",         "2026",       "2026-",    "2026-1",  "2026-13",  "2026-00",
		                             "2026-001", "26-01",      "02026-01", "0026-01", "2026/01",  "202601",
		                             "2026-1x",  "2026-01-01", " 2026-01", "2026--1", "2026-01 ", "last" };

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		assert_int_equal(admin_month(right[i]), ERR_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(admin_month(wrong[i]), ERR_INVALID);
}

static void numbers_that_hold(void **state)
{
	struct admin_number own = { .own = true, .value = 5 }, none = { .own = true }, inherited = { 0 };
	struct settings s = { .rate_limits_user_level_requests_per_minute = 60,
		              .rate_limits_user_level_requests_per_hour = 600,
		              .quotas_monthly_requests = 7000 };
	struct admin_limits l = { .per_hour = none };
	struct admin_quotas q = { .bandwidth_mb = own, .reset_day = { .own = true, .value = 15 }, .now = 1772323199 };
	struct admin_limits_effective limits;
	struct admin_quotas_effective quotas;

	(void)state;
	assert_int_equal(admin_effective(&own, 9), 5);
	assert_int_equal(admin_effective(&none, 9), 0);
	assert_int_equal(admin_effective(&inherited, 9), 9);
	admin_limits_effective(&s, &l, &limits);
	assert_int_equal(limits.per_minute, 60);
	assert_int_equal(limits.per_hour, 0);
	assert_int_equal(limits.burst, 60);
	l.burst = own;
	admin_limits_effective(&s, &l, &limits);
	assert_int_equal(limits.burst, 5);
	admin_quotas_effective(&s, &q, &quotas);
	assert_int_equal(quotas.requests, 7000);
	assert_int_equal(quotas.bandwidth_mb, 5);
	assert_string_equal(quotas.reset_at, "2026-03-15T00:00:00Z");
}

static void texts(void **state)
{
	static const char *const names[] = { "a", "b", "c" };
	char buf[ADMIN_TIME_MAX];

	(void)state;
	json_t *v = json_pack("[o, o, o, o, o, o]", admin_json_percent(1, 3), admin_json_percent(1, 0),
	                      admin_json_percent(UINT64_MAX, 1), admin_json_names(names, 3, 5), admin_json_text(NULL),
	                      admin_json_text("x\xff\xc3"));
	char *text = json_dumps(v, 0);
	assert_string_equal(text, "[33, null, 9223372036854775800, [\"a\", \"c\"], null, \"x??\"]");
	free(text);
	json_decref(v);
	assert_string_equal(admin_time(0, buf), "1970-01-01T00:00:00Z");
	assert_string_equal(admin_time(1772323199, buf), "2026-02-28T23:59:59Z");
}

static void presets(void **state)
{
	static const char *const right[] = {
		"a",       "thumb,wide",    "A.b_c-0",
		"default", "a,b,c,d,e,f,g", "a234567890123456789012345678901234567890123456789012345678901234"
	};
	static const char *const wrong[] = { "",
		                             ",",
		                             "a,",
		                             ",a",
		                             "a,,b",
		                             "a,b,a",
		                             "a b",
		                             " a",
		                             "a:b",
		                             "a/b",
		                             "a%20b",
		                             "a\xc3\xa4",
		                             "a\n",
		                             "a,b ",
		                             "none",
		                             "a,none",
		                             "a2345678901234567890123456789012345678901234567890123456789012345" };
	char many[1024];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		assert_int_equal(admin_presets(right[i]), ERR_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (admin_presets(wrong[i]) != ERR_INVALID)
			fail_msg("%s", wrong[i]);
	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(many + n, sizeof(many) - n, "%sp%d", i > 0 ? "," : "", i);
	assert_int_equal(admin_presets(many), ERR_OK);
	strcpy(many + n, ",x");
	assert_int_equal(admin_presets(many), ERR_INVALID);
}

/* What is not a user's own is the setting's; three of them are in thousandths, and numbers without a point where they
 * can. */
static void bounds_of_images(void **state)
{
	static const struct settings settings = { .images_max_dimension = 4096,
		                                  .images_max_dpr = 4,
		                                  .images_max_zoom = 3,
		                                  .images_max_blur = 50,
		                                  .images_max_quality = 90,
		                                  .images_require_expires = true };
	const struct admin_images images = { .user_id = 7,
		                             .username = "anna",
		                             .max_dpr = { .own = true, .value = 1500 },
		                             .max_blur = { .own = true, .value = 0 },
		                             .require_expires = { .own = true, .value = 0 },
		                             .presets = "a,b-c" };
	static const struct admin_images nothing = { .user_id = 8, .username = "ben" };

	(void)state;
	json_t *v = json_pack("[o, o]", admin_json_images(&settings, &images), admin_json_images(&settings, &nothing));
	char *text = json_dumps(v, JSON_REAL_PRECISION(6));
	assert_string_equal(
	        text,
	        "[{\"user\": \"anna\", \"user_id\": 7, \"max_dimension\": 4096, \"max_dpr\": 1.5, \"max_zoom\": 3, "
	        "\"max_blur\": 0, \"max_quality\": 90, \"require_expires\": false, \"presets\": [\"a\", \"b-c\"], "
	        "\"defaults\": [\"max_dimension\", \"max_zoom\", \"max_quality\"]}, "
	        "{\"user\": \"ben\", \"user_id\": 8, \"max_dimension\": 4096, \"max_dpr\": 4, \"max_zoom\": 3, "
	        "\"max_blur\": 50, \"max_quality\": 90, \"require_expires\": true, \"presets\": [], "
	        "\"defaults\": [\"max_dimension\", \"max_dpr\", \"max_zoom\", \"max_blur\", \"max_quality\", "
	        "\"require_expires\"]}]");
	free(text);
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations), cmocka_unit_test(months),  cmocka_unit_test(numbers_that_hold),
		cmocka_unit_test(texts),     cmocka_unit_test(presets), cmocka_unit_test(bounds_of_images),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
