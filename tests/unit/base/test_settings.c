/* Settings: every wrong value names its key and line, the environment wins, the table is sound. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/settings.h"

static char error[SETTINGS_ERROR_MAX];
static const char *env_name;
static const char *env_value;

static const char *fake_env(const char *name)
{
	return env_name != NULL && strcmp(name, env_name) == 0 ? env_value : NULL;
}

static enum err load(struct settings *s, const char *text)
{
	return settings_load_text(s, "t.yaml", text, strlen(text), fake_env, error);
}

static int setup(void **state)
{
	(void)state;
	env_name = NULL;
	return 0;
}

static void test_defaults(void **state)
{
	(void)state;
	struct settings s;
	assert_int_equal(load(&s, ""), ERR_OK);
	assert_int_equal(s.server_port, 8080);
	assert_int_equal(s.server_read_timeout, 30000);
	assert_int_equal(s.uploads_max_size, 100 << 20);
	assert_int_equal(s.rate_limits_ip_level_requests_per_minute, 100);
	assert_int_equal(s.rate_limits_user_level_requests_per_minute, 1000);
	assert_true(s.metrics_enabled);
	assert_string_equal(s.redis_addr, "localhost:6379");
	assert_string_equal(s.auth_key_pepper, "");
	assert_string_equal(s.auth_master_key, "");
	assert_int_equal(s.images_max_dimension, 4096);
	assert_int_equal(s.images_max_dpr, 4);
	assert_int_equal(s.images_max_zoom, 4);
	assert_int_equal(s.images_max_blur, 50);
	assert_int_equal(s.images_max_quality, 100);
	assert_false(s.images_require_expires);
	assert_int_equal(s.quotas_storage_mb, 0);
	assert_int_equal(s.backends_count, 0);
	settings_free(&s);
}

/* The starting sketch of the project's user, word for word. */
static void test_the_sketch_loads(void **state)
{
	(void)state;
	struct settings s;
	assert_int_equal(load(&s, "server:\n  port: 8080\n  read_timeout: 30s\n  write_timeout: 30s\n\n"
	                          "database:\n  driver: postgres\n"
	                          "  dsn: \"postgres://user:pass@localhost/imgproxy_gateway\"\n"
	                          "  max_connections: 25\n\n"
	                          "redis:\n  addr: \"localhost:6379\"\n  password: \"\"\n  db: 0\n\n"
	                          "backends:\n  - url: \"http://127.0.0.1:48080\"\n    weight: 70\n"
	                          "  - url: \"http://127.0.0.1:48081\"\n    weight: 30\n\n"
	                          "rate_limits:\n  ip_level:\n    requests_per_minute: 100\n"
	                          "  user_level:\n    requests_per_minute: 1000\n"),
	                 ERR_OK);
	assert_int_equal(s.backends_count, 2);
	assert_string_equal(s.backends[1].url, "http://127.0.0.1:48081");
	assert_int_equal(s.backends[0].weight, 70);
	settings_free(&s);
}

static void test_values_and_units(void **state)
{
	(void)state;
	struct settings s;
	assert_int_equal(load(&s, "server: {port: 1, read_timeout: 1500ms, write_timeout: 2m}\n"
	                          "uploads: {max_size: 16KB, dir: /x}\n"
	                          "metrics: {enabled: false, bind: '[::1]:9'}\n"
	                          "api: {bind: 'unix@/run/x.sock'}\nlog: {level: warn}\n"),
	                 ERR_OK);
	assert_int_equal(s.server_port, 1);
	assert_int_equal(s.server_read_timeout, 1500);
	assert_int_equal(s.server_write_timeout, 120000);
	assert_int_equal(s.uploads_max_size, 16384);
	assert_false(s.metrics_enabled);
	assert_int_equal(s.log_level, 2);
	settings_free(&s);
}

static void test_errors_name_key_and_line(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *error;
	} rows[] = {
		{ "server:\n  port: 80800\n", "t.yaml:2: server.port: \"80800\" is not within 1 to 65535" },
		{ "server:\n  port: http\n", "t.yaml:2: server.port: \"http\" is not a whole number" },
		{ "server:\n  port: 8080 # x\n  port: 1\n", "t.yaml:3: server.port: given twice" },
		{ "server:\n  read_timeout: 30\n",
		  "t.yaml:2: server.read_timeout: \"30\" is not a time with its unit, as 500ms, 30s, 5m or 1h" },
		{ "server:\n  read_timeout: 99999999999999999h\n", "t.yaml:2: server.read_timeout:" },
		{ "server:\n  prot: 1\n", "t.yaml:2: server.prot: unknown setting; is server.port meant?" },
		{ "server:\n  nothing_like_it: 1\n", "t.yaml:2: server.nothing_like_it: unknown setting" },
		{ "rate_limits:\n  ip_levle:\n    requests_per_minute: 1\n",
		  "t.yaml:2: rate_limits.ip_levle: unknown setting; is rate_limits.ip_level meant?" },
		{ "sever:\n  port: 1\n", "t.yaml:1: sever: unknown setting; is server meant?" },
		{ "server: 1\n", "t.yaml:1: server: must be a section with settings below it" },
		{ "server:\n  port: [1]\n", "t.yaml:2: server.port: must be a plain value" },
		{ "- a\n", "t.yaml:1: must be a mapping of sections" },
		{ "server: {port: 1\n", "t.yaml:2: not YAML:" },
		{ "uploads: {max_size: 5TB}\n", "t.yaml:1: uploads.max_size: \"5TB\" is not a size" },
		{ "metrics: {enabled: yes}\n", "t.yaml:1: metrics.enabled: \"yes\" is not true or false" },
		{ "metrics: {bind: localhost}\n",
		  "t.yaml:1: metrics.bind: \"localhost\" is not host:port or unix@PATH" },
		{ "log: {format: yaml}\n", "t.yaml:1: log.format: \"yaml\" is not text or json" },
		{ "log: {level: loud}\n", "t.yaml:1: log.level: \"loud\" is not debug, info, warn or error" },
		{ "database: {driver: mysql123}\n",
		  "t.yaml:1: database.driver: \"mysql123\" is not supported, only postgres" },
		{ "api: {bind: '127.0.0.1:1'}\n",
		  "t.yaml:1: api.bind: is not a unix socket, so api.token must be set" },
		{ "auth: {key_pepper: short}\n",
		  "t.yaml:1: auth.key_pepper: \"(hidden)\" must have 32 to 255 characters" },
		{ "auth: {master_key: 0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789012345678}\n",
		  "t.yaml:1: auth.master_key: \"(hidden)\" must have 64 characters" },
		{ "log: {level: info}\nauth: {master_key: "
		  "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789012345678g}\n",
		  "t.yaml:2: auth.master_key: \"(hidden)\" must be 64 hex digits" },
		{ "images: {max_dpr: 1.5}\n", "t.yaml:1: images.max_dpr: \"1.5\" is not a whole number" },
		{ "images: {max_quality: 101}\n", "t.yaml:1: images.max_quality: \"101\" is not within 1 to 100" },
		{ "images: {max_dimension: 0}\n", "t.yaml:1: images.max_dimension: \"0\" is not within" },
		{ "quotas: {storage_mb: 8796093022208}\n", "t.yaml:1: quotas.storage_mb: \"8796093022208\" is not" },
		{ "usage: {bind: unix@/run/x.sock}\n",
		  "t.yaml:1: usage.bind: \"unix@/run/x.sock\" is not host:port, which is needed for UDP" },
		{ "usage: {bind: '9003'}\n", "t.yaml:1: usage.bind: \"9003\" is not host:port" },
		{ "usage: {bind: ''}\n", "t.yaml:1: usage.bind: \"\" must have 1 to 255 characters" },
		{ "usage: {token: 0123456789abcde}\n",
		  "t.yaml:1: usage.token: \"(hidden)\" must have 16 to 64 characters" },
		{ "usage: {token: 0123456789abcde%f}\n",
		  "t.yaml:1: usage.token: \"(hidden)\" may have letters of ASCII, digits, - and _ only" },
		{ "images: {cache_mb: 4, cache_max_object: 3MB}\n",
		  "t.yaml:1: images.cache_max_object: is more than half of images.cache_mb" },
		{ "usage: {token: 'a token with blanks'}\n", "t.yaml:1: usage.token: \"(hidden)\" may have" },
		{ "usage: {previous_token: 'a token with blanks'}\n",
		  "t.yaml:1: usage.previous_token: \"(hidden)\" may have" },
		{ "usage: {retention_days: 36501}\n", "t.yaml:1: usage.retention_days: \"36501\" is not within" },
		{ "usage: {memory: 1KB}\n", "t.yaml:1: usage.memory: \"1KB\" is not within" },
		/* A batch of the intake has up to half a megabyte. */
		{ "usage: {memory: 64KB}\n", "t.yaml:1: usage.memory: \"64KB\" is not within" },
		{ "haproxy: {socket: run/x.sock}\n",
		  "t.yaml:1: haproxy.socket: \"run/x.sock\" is not a path from the root" },
		{ "backends: 1\n", "t.yaml:1: backends: must be a list" },
		{ "backends:\n  - weight: 1\n", "t.yaml:2: backends.url: must be http://host:port" },
		{ "backends:\n  - url: http://a:1/path\n", "t.yaml:2: backends.url: must be http://host:port" },
		{ "backends:\n  - {url: 'http://a:1', weight: 300}\n",
		  "t.yaml:2: backends.weight: \"300\" is not within" },
		{ "backends:\n  - {url: 'http://a:1', wight: 3}\n", "t.yaml:2: backends.wight: unknown setting" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct settings s;
		assert_int_not_equal(load(&s, rows[i].text), ERR_OK);
		if (strncmp(error, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("wanted: %s\ngot:    %s", rows[i].error, error);
	}
}

static void test_environment_wins_and_is_checked(void **state)
{
	(void)state;
	struct settings s;
	env_name = "SERVER_PORT";
	env_value = "99";
	assert_int_equal(load(&s, "server: {port: 5}\n"), ERR_OK);
	assert_int_equal(s.server_port, 99);
	settings_free(&s);
	env_value = "x";
	assert_int_not_equal(load(&s, ""), ERR_OK);
	assert_string_equal(error, "environment SERVER_PORT: \"x\" is not a whole number");
	env_name = "REDIS_ADDR";
	env_value = "";
	assert_int_equal(load(&s, ""), ERR_OK);
	assert_string_equal(s.redis_addr, "");
	settings_free(&s);
}

static const char *shown(const struct settings *s, const char *name, char *buf, size_t size)
{
	size_t count;
	const struct setting_info *table = settings_table(&count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(table[i].name, name) == 0)
			return settings_value(s, i, buf, size);
	fail_msg("no setting %s", name);
	return NULL;
}

static void test_secrets_are_not_shown(void **state)
{
	(void)state;
	struct settings s;
	char buf[256];
	assert_int_equal(load(&s, "auth: {key_pepper: 0123456789abcdef0123456789abcdef, master_key: "
	                          "0123456789abcdefABCDEF0123456789abcdefABCDEF01234567890123456789}\n"
	                          "database: {dsn: 'postgres://u:hunter2@h/db'}\n"),
	                 ERR_OK);
	assert_string_equal(shown(&s, "auth.key_pepper", buf, sizeof(buf)), "(set)");
	assert_string_equal(shown(&s, "auth.master_key", buf, sizeof(buf)), "(set)");
	assert_string_equal(shown(&s, "database.dsn", buf, sizeof(buf)), "postgres://u@h/db");
	assert_string_equal(shown(&s, "imgproxy.key", buf, sizeof(buf)), "");
	assert_string_equal(shown(&s, "server.read_timeout", buf, sizeof(buf)), "30000ms");
	settings_free(&s);
	assert_int_equal(load(&s, "database: {dsn: 'host=h password=hunter2'}\n"), ERR_OK);
	assert_null(strstr(shown(&s, "database.dsn", buf, sizeof(buf)), "hunter2"));
	settings_free(&s);
	assert_int_equal(load(&s, "database: {dsn: 'postgres://u:hun@ter2@h/db'}\n"), ERR_OK);
	assert_string_equal(shown(&s, "database.dsn", buf, sizeof(buf)), "postgres://u@h/db");
	settings_free(&s);
	/* Not in errors either. */
	env_name = "AUTH_KEY_PEPPER";
	env_value = "hunter2";
	assert_int_not_equal(load(&s, ""), ERR_OK);
	assert_null(strstr(error, "hunter2"));
}

/* Names are sorted and unique, and the environment's name is the path in capitals but for the two of the sketch. */
static void test_table(void **state)
{
	(void)state;
	size_t count;
	const struct setting_info *table = settings_table(&count);
	for (size_t i = 0; i < count; i++) {
		char env[128];
		size_t n = 0;
		if (i > 0)
			assert_true(strcmp(table[i - 1].name, table[i].name) < 0);
		for (const char *p = table[i].name; *p != '\0'; p++)
			env[n++] = *p == '.' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
		env[n] = '\0';
		if (strcmp(table[i].name, "database.dsn") == 0)
			strcpy(env, "DB_DSN");
		if (strcmp(table[i].name, "database.driver") == 0)
			strcpy(env, "DB_DRIVER");
		assert_string_equal(table[i].env, env);
		assert_true(strlen(table[i].help) > 0);
	}
}

static void test_file(void **state)
{
	(void)state;
	struct settings s;
	char path[] = "/tmp/test-settings-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "server:\n  port: 77\n", 19), 19);
	close(fd);
	assert_int_equal(settings_load(&s, path, error), ERR_OK);
	assert_int_equal(s.server_port, 77);
	assert_string_equal(s.source, path);
	assert_string_equal(s.text, "server:\n  port: 77\n");
	settings_free(&s);
	unlink(path);
	assert_int_not_equal(settings_load(&s, path, error), ERR_OK);
	assert_non_null(strstr(error, path));
	assert_non_null(strstr(error, "No such file"));
}

/* A file with this text, in a name that the caller unlinks. */
static void make_file(char *path, const char *text)
{
	strcpy(path, "/tmp/test-settings-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static const char *origin(const struct settings *s, const char *name, char *buf, size_t size)
{
	size_t count, i = 0;
	const struct setting_info *table = settings_table(&count);
	while (strcmp(table[i].name, name) != 0)
		assert_true(++i < count);
	return settings_origin(s, i, buf, size);
}

static void test_secret_files(void **state)
{
	(void)state;
	struct settings s;
	char path[64], want[256], buf[256];
	make_file(path, "postgres://u:hunter2@h/db\n");
	env_name = "DB_DSN_FILE";
	env_value = path;
	assert_int_equal(load(&s, "database: {dsn: 'postgres://x/y'}\n"), ERR_OK);
	assert_string_equal(s.database_dsn, "postgres://u:hunter2@h/db");
	assert_string_equal(settings_where(&s, "database.dsn", buf, sizeof(buf)),
	                    "environment DB_DSN_FILE: database.dsn");
	assert_string_equal(shown(&s, "database.dsn", buf, sizeof(buf)), "postgres://u@h/db");
	assert_string_equal(origin(&s, "database.dsn", buf, sizeof(buf)), "secret file");
	settings_free(&s);
	/* Its value is checked like any other, and not told. */
	env_name = "AUTH_KEY_PEPPER_FILE";
	assert_int_not_equal(load(&s, ""), ERR_OK);
	assert_string_equal(error, "environment AUTH_KEY_PEPPER_FILE: \"(hidden)\" must have 32 to 255 characters");
	unlink(path);
	assert_int_not_equal(load(&s, ""), ERR_OK);
	snprintf(want, sizeof(want), "environment AUTH_KEY_PEPPER_FILE: %s: No such file or directory", path);
	assert_string_equal(error, want);
	env_value = "";
	assert_int_not_equal(load(&s, ""), ERR_OK);
	assert_string_equal(error, "environment AUTH_KEY_PEPPER_FILE: names no file");
	/* What is no secret has no file. */
	env_name = "SERVER_PORT_FILE";
	assert_int_equal(load(&s, ""), ERR_OK);
	settings_free(&s);
}

static const char *both(const char *name)
{
	if (strcmp(name, "API_TOKEN") == 0)
		return "a";
	return strcmp(name, "API_TOKEN_FILE") == 0 ? "/dev/null" : NULL;
}

static void test_a_secret_is_given_once(void **state)
{
	(void)state;
	struct settings s;
	assert_int_not_equal(settings_load_text(&s, "t", "", 0, both, error), ERR_OK);
	assert_string_equal(error, "environment API_TOKEN: given twice, also as API_TOKEN_FILE");
}

/* What a child gets stays as it was, whatever becomes of the files. */
static void test_passed_on(void **state)
{
	(void)state;
	struct settings s, child;
	char path[64], config[64], passed[] = "/tmp/test-settings-XXXXXX";
	make_file(path, "token-one-of-the-two\n");
	make_file(config, "server:\n  port: 77\n");
	setenv("API_TOKEN_FILE", path, 1);
	assert_int_equal(settings_load(&s, config, error), ERR_OK);
	assert_string_equal(s.secrets, "API_TOKEN=token-one-of-the-two\n");
	unlink(path);
	unlink(config);
	int fd = mkstemp(passed);
	assert_int_equal(settings_pass(&s, fd), ERR_OK);
	assert_int_equal(settings_load_passed(&child, passed, error), ERR_OK);
	assert_string_equal(child.api_token, "token-one-of-the-two");
	assert_int_equal(child.server_port, 77);
	assert_string_equal(child.text, s.text);
	settings_free(&child);
	settings_free(&s);
	unsetenv("API_TOKEN_FILE");

	/* Without secrets it is the text alone, as from an older program. */
	assert_int_equal(ftruncate(fd, 0), 0);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(load(&s, ""), ERR_OK);
	assert_int_equal(settings_pass(&s, fd), ERR_OK);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	assert_int_equal(settings_load_passed(&child, passed, error), ERR_OK);
	settings_free(&child);
	setenv("API_TOKEN_FILE", path, 1);
	assert_int_not_equal(settings_load_passed(&child, passed, error), ERR_OK);
	assert_string_equal(error, "environment API_TOKEN_FILE: was not there when the program was started");
	unsetenv("API_TOKEN_FILE");
	settings_free(&s);
	close(fd);
	unlink(passed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_defaults, setup),
		cmocka_unit_test_setup(test_the_sketch_loads, setup),
		cmocka_unit_test_setup(test_values_and_units, setup),
		cmocka_unit_test_setup(test_errors_name_key_and_line, setup),
		cmocka_unit_test_setup(test_environment_wins_and_is_checked, setup),
		cmocka_unit_test_setup(test_secrets_are_not_shown, setup),
		cmocka_unit_test_setup(test_table, setup),
		cmocka_unit_test_setup(test_file, setup),
		cmocka_unit_test_setup(test_secret_files, setup),
		cmocka_unit_test_setup(test_a_secret_is_given_once, setup),
		cmocka_unit_test_setup(test_passed_on, setup),
	};
	unsetenv("GATEWAY_CONFIG");
	unsetenv("SERVER_PORT");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
