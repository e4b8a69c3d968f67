/* The metrics as text for Prometheus: format, escapes, and that each family of the table is there once. */
#include "unit.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/metrics.h"

#define METRIC(id, type, name, labels, help) name " " #type " " labels,
static const char *const families[] = {
#include "agent/metrics.def"
};
#undef METRIC
#define METRIC(id, type, name, labels, help) help,
static const char *const helps[] = {
#include "agent/metrics.def"
};
#undef METRIC
#define FAMILIES (sizeof(families) / sizeof(families[0]))

static char text[65536];
static size_t len;

static void write_text(void *arg, const char *p, size_t n)
{
	(void)arg;
	assert_true(len + n < sizeof(text));
	memcpy(text + len, p, n);
	len += n;
	text[len] = '\0';
}

/* The text of these counters. */
static void show(const struct metrics_source *source)
{
	const struct metrics_out out = { .write = write_text };

	len = 0;
	metrics_write(source, &out);
	assert_true(len > 0 && text[len - 1] == '\n');
}

static void expect(const char *line)
{
	char wanted[512];

	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (strstr(text, wanted) == NULL)
		fail_msg("missing: %s", line);
}

static struct agent_shared *shared;
static int shared_fd;

static int set_up(void **state)
{
	(void)state;
	return agent_shared_make(&shared_fd, &shared) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	agent_shared_unmap(shared);
	close(shared_fd);
	return 0;
}

static struct metrics_source source_of(const char *version)
{
	static const struct haproxy_server servers[] = { { "img1", true, 70 }, { "img2", false, 0 } };

	return (struct metrics_source){
		.shared = shared, .version = version, .now_ns = 5000000000, .backends = servers, .backends_count = 2
	};
}

static void test_numbers(void **state)
{
	(void)state;
	struct metrics_source source = source_of("1.2.3");

	agent_count_verdict(&shared->metrics, VERDICT_KEY_INVALID, 1500);
	agent_count_verdict(&shared->metrics, VERDICT_ALLOW, 999999999);
	atomic_store(&shared->workers, 2);
	atomic_store(&shared->slots[0].connections, 3);
	atomic_store(&shared->slots[5].connections, 4);
	source.postgres_up = source.usage_up = source.redis_configured = true;
	source.policy = (struct policy_sync_status){ .users = 7, .keys = 8, .generation = 9, .synced_ns = 3500000000 };
	source.usage_spool_bytes = 1e15;
	source.usage_lag_s = 1.5;
	source.usage_memory_bytes = NAN;
	source.reconcile_at = 1795000000;
	source.certificate_expires = 1798761600;
	show(&source);
	expect("gateway_verdicts_total{code=\"key_invalid\"} 1");
	expect("gateway_verdicts_total{code=\"key_expired\"} 0");
	expect("gateway_verdict_seconds_bucket{le=\"1e-06\"} 0");
	expect("gateway_verdict_seconds_bucket{le=\"2e-06\"} 1");
	expect("gateway_verdict_seconds_bucket{le=\"0.1\"} 1");
	expect("gateway_verdict_seconds_bucket{le=\"+Inf\"} 2");
	expect("gateway_verdict_seconds_count 2");
	expect("gateway_verdict_seconds_sum 1.000001499");
	expect("gateway_spop_connections 7");
	expect("gateway_policy_users 7");
	expect("gateway_policy_keys 8");
	expect("gateway_policy_generation 9");
	expect("gateway_tls_certificate_expiry_timestamp_seconds 1798761600");
	expect("gateway_policy_age_seconds 1.5");
	expect("gateway_postgres_up 1");
	expect("gateway_redis_up 0");
	expect("gateway_configured{part=\"redis\"} 1");
	expect("gateway_configured{part=\"usage\"} 0");
	expect("gateway_usage_up 1");
	expect("gateway_usage_spool_bytes 1e+15");
	expect("gateway_usage_lag_seconds 1.5");
	expect("gateway_usage_memory_bytes NaN");
	expect("gateway_reconcile_timestamp_seconds 1795000000");
	expect("gateway_worker_restarts_total{worker=\"verdict-2\",reason=\"frozen\"} 0");
	expect("gateway_worker_restarts_total{worker=\"keeper\",reason=\"killed\"} 0");
	expect("gateway_backend_up{backend=\"img1\"} 1");
	expect("gateway_backend_up{backend=\"img2\"} 0");
	expect("gateway_backend_weight{backend=\"img1\"} 70");
	expect("gateway_backend_weight{backend=\"img2\"} 0");
	expect("gateway_build_info{version=\"1.2.3\"} 1");
	assert_null(strstr(text, "verdict-3"));
	assert_null(strstr(text, "unknown error"));
}

static void test_an_age_that_is_not_known(void **state)
{
	(void)state;
	const struct metrics_source source = source_of("1");

	show(&source);
	expect("gateway_policy_age_seconds NaN");
}

static void test_label_values_are_escaped(void **state)
{
	(void)state;
	const struct metrics_source source = source_of("a\"b\\c\nd");

	show(&source);
	expect("gateway_build_info{version=\"a\\\"b\\\\c\\nd\"} 1");
}

/* HELP, TYPE and series of each family stand together, in the order of the table, and nothing else is there. */
static void test_each_family_once(void **state)
{
	(void)state;
	const struct metrics_source source = source_of("1");
	char *line, *rest;
	size_t at = 0, series = 1;
	char name[64] = "", labels[64] = "";
	bool typed = true;

	atomic_store(&shared->workers, 1);
	show(&source);
	for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			assert_true(typed && series > 0 && at < FAMILIES);
			char type[16] = "";
			labels[0] = '\0';
			assert_true(sscanf(families[at], "%63s %15s %63s", name, type, labels) >= 2);
			assert_int_equal(strncmp(line + 7, name, strlen(name)), 0);
			assert_string_equal(line + 7 + strlen(name) + 1, helps[at]);
			typed = false;
			series = 0;
			at++;
			const char *total = strstr(name, "_total");
			assert_int_equal(strcmp(type, "COUNTER") == 0, total != NULL && total[6] == '\0');
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			assert_true(!typed);
			typed = true;
			assert_int_equal(strncmp(line + 7, name, strlen(name)), 0);
			assert_true(islower(line[7 + strlen(name) + 1]));
		} else {
			assert_true(typed);
			assert_int_equal(strncmp(line, name, strlen(name)), 0);
			if (labels[0] != '\0')
				assert_int_equal(line[strlen(name)], '{');
			series++;
		}
	}
	assert_int_equal(at, FAMILIES);
}

/* What an operator reads: a sentence and what to do, on one line that needs no escapes. */
static void test_helps_are_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < FAMILIES; i++) {
		assert_true(strlen(helps[i]) > 40);
		assert_null(strpbrk(helps[i], "\\\n|"));
		assert_int_equal(helps[i][strlen(helps[i]) - 1], '.');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_age_that_is_not_known, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_label_values_are_escaped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_family_once, set_up, tear_down),
		cmocka_unit_test(test_helps_are_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
