#include "base/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/check.h"
#include "base/dsn_shown.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/secret_file.h"
#include "base/sv.h"

#define SYSTEM_CONFIG   "/etc/imgproxy-gateway/config.yaml"
#define CONFIG_SIZE_MAX (1024L * 1024)

#define SETTING(field, type, name, env, def, min, max, flags, help) \
	{ name, env, def, help, SETTING_##type, min, max, flags },
static const struct setting_info table[] = {
#include "base/settings.def"
};
#undef SETTING

#define SETTING(field, type, name, env, def, min, max, flags, help) offsetof(struct settings, field),
static const size_t offsets[] = {
#include "base/settings.def"
};
#undef SETTING

#define TABLE_SIZE (sizeof(table) / sizeof(table[0]))
_Static_assert(TABLE_SIZE <= SETTINGS_MAX, "settings.lines has room for every row");

#define LINE_ENVIRONMENT ULONG_MAX
#define LINE_SECRET_FILE (ULONG_MAX - 1)

/* Where a value came from, for errors, and which rows and lists were seen. */
struct loader {
	struct settings *s;
	const char *file;
	yaml_document_t *doc;
	char *error;
	const char *inherited; /* instead of reading the files of secrets; NULL: read them */
	bool seen[TABLE_SIZE];
	bool backends_seen;
};

const struct setting_info *settings_table(size_t *count)
{
	*count = TABLE_SIZE;
	return table;
}

static bool is_string(enum setting_type type)
{
	return type == SETTING_STR || type == SETTING_PATH || type == SETTING_ADDR;
}

__attribute__((format(printf, 2, 3))) static enum err fail(char *error, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(error, SETTINGS_ERROR_MAX, fmt, ap);
	va_end(ap);
	return ERR_INVALID;
}

/* Number and unit, as "30s" or "16KB"; the units are pairs of name and factor, ended by NULL. */
struct unit {
	const char *name;
	int64_t factor;
};
static const struct unit duration_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 }
};
static const struct unit size_units[] = {
	{ "", 1 }, { "KB", 1024 }, { "MB", 1024 * 1024 }, { "GB", 1024 * 1024 * 1024 }, { NULL, 0 },
};

static enum err parse_unit(const char *text, const struct unit *units, int64_t *out)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t number;

	if (sv_to_u64(sv_from(text, digits), &number) != ERR_OK || number > INT64_MAX)
		return ERR_INVALID;
	for (const struct unit *u = units; u->name != NULL; u++)
		if (strcmp(text + digits, u->name) == 0)
			return __builtin_mul_overflow((int64_t)number, u->factor, out) ? ERR_RANGE : ERR_OK;
	return ERR_INVALID;
}

static enum err parse_bool(const char *text, int64_t *out)
{
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
		*out = text[0] == 't';
		return ERR_OK;
	}
	return ERR_INVALID;
}

static enum err parse_number(const struct setting_info *info, const char *text, int64_t *out)
{
	uint64_t number;
	enum log_level level;

	switch (info->type) {
	case SETTING_INT:
		if (sv_to_u64(sv_str(text), &number) != ERR_OK || number > INT64_MAX)
			return ERR_INVALID;
		*out = (int64_t)number;
		return ERR_OK;
	case SETTING_BOOL:
		return parse_bool(text, out);
	case SETTING_DURATION:
		return parse_unit(text, duration_units, out);
	case SETTING_SIZE:
		return parse_unit(text, size_units, out);
	case SETTING_LEVEL:
		if (log_level_parse(text, &level) != ERR_OK)
			return ERR_INVALID;
		*out = (int64_t)level;
		return ERR_OK;
	default:
		return ERR_INVALID;
	}
}

static const char *wanted(enum setting_type type)
{
	switch (type) {
	case SETTING_INT:
		return "a whole number";
	case SETTING_BOOL:
		return "true or false";
	case SETTING_DURATION:
		return "a time with its unit, as 500ms, 30s, 5m or 1h";
	case SETTING_SIZE:
		return "a size, as 512, 16KB, 100MB or 1GB";
	case SETTING_LEVEL:
		return "debug, info, warn or error";
	case SETTING_ADDR:
		return "host:port or unix@PATH";
	default:
		return "a string";
	}
}

/* host:port, [v6]:port or unix@PATH */
static bool address_ok(const char *text)
{
	uint64_t port;

	if (strncmp(text, "unix@", 5) == 0)
		return text[5] == '/' && strlen(text + 5) < 108;
	const char *colon = strrchr(text, ':');
	return colon != NULL && colon != text && sv_to_u64(sv_str(colon + 1), &port) == ERR_OK && port <= 65535;
}

/* Sets row i from text. `where` names the value in errors; a secret's text never gets into one. */
static enum err set_value(struct settings *s, size_t i, const char *text, const char *where, char *error)
{
	const struct setting_info *info = &table[i];
	void *field = (char *)s + offsets[i];
	const char *shown = info->flags & (SETTING_SECRET | SETTING_URL_SECRET) ? "(hidden)" : text;
	int64_t number = 0;

	if (is_string(info->type)) {
		size_t len = strlen(text);
		bool empty = len == 0 && (info->flags & SETTING_OPTIONAL) != 0;
		if (!empty && info->min == info->max && len != (size_t)info->max)
			return fail(error, "%s: \"%s\" must have %" PRId64 " characters", where, shown, info->max);
		if (!empty && (len < (size_t)info->min || len > (size_t)info->max))
			return fail(error, "%s: \"%s\" must have %" PRId64 " to %" PRId64 " characters", where, shown,
			            info->min, info->max);
		if (info->type == SETTING_ADDR && len > 0 && !address_ok(text))
			return fail(error, "%s: \"%s\" is not %s", where, shown, wanted(info->type));
		char *copy = strdup(text);
		CHECK(copy != NULL);
		char **slot = field;
		free(*slot);
		*slot = copy;
		return ERR_OK;
	}
	if (parse_number(info, text, &number) != ERR_OK)
		return fail(error, "%s: \"%s\" is not %s", where, shown, wanted(info->type));
	if (info->type == SETTING_BOOL) {
		bool *flag = field;
		*flag = number != 0;
		return ERR_OK;
	}
	if (info->type != SETTING_LEVEL && (number < info->min || number > info->max))
		return fail(error, "%s: \"%s\" is not within %" PRId64 " to %" PRId64 "%s", where, shown, info->min,
		            info->max, info->type == SETTING_DURATION ? " milliseconds" : "");
	int64_t *slot = field;
	*slot = number;
	return ERR_OK;
}

static unsigned long line_of(const yaml_node_t *node)
{
	return (unsigned long)node->start_mark.line + 1;
}

static const char *scalar(const yaml_node_t *node)
{
	if (node == NULL || node->type != YAML_SCALAR_NODE)
		return NULL;
	const char *text = (const char *)node->data.scalar.value;
	return strlen(text) == node->data.scalar.length ? text : NULL;
}

static enum err load_backend(struct loader *l, yaml_node_t *item)
{
	struct setting_backend *b = &l->s->backends[l->s->backends_count];
	uint64_t weight = 1;
	const char *url = NULL;

	if (item->type != YAML_MAPPING_NODE)
		return fail(l->error, "%s:%lu: backends: each one is a mapping of url and weight", l->file,
		            line_of(item));
	for (yaml_node_pair_t *p = item->data.mapping.pairs.start; p < item->data.mapping.pairs.top; p++) {
		yaml_node_t *node = yaml_document_get_node(l->doc, p->value);
		const char *key = scalar(yaml_document_get_node(l->doc, p->key));
		const char *text = scalar(node);
		if (key == NULL || text == NULL)
			return fail(l->error, "%s:%lu: backends: url and weight are plain values", l->file,
			            line_of(item));
		if (strcmp(key, "url") == 0)
			url = text;
		else if (strcmp(key, "weight") != 0)
			return fail(l->error, "%s:%lu: backends.%s: unknown setting", l->file, line_of(node), key);
		else if (sv_to_u64(sv_str(text), &weight) != ERR_OK || weight > 256)
			return fail(l->error, "%s:%lu: backends.weight: \"%s\" is not within 0 to 256", l->file,
			            line_of(node), text);
	}
	if (url == NULL || strncmp(url, "http://", 7) != 0 || !address_ok(url + 7) || strchr(url + 7, '/') != NULL)
		return fail(l->error, "%s:%lu: backends.url: must be http://host:port", l->file, line_of(item));
	b->url = strdup(url);
	CHECK(b->url != NULL);
	b->weight = (uint32_t)weight;
	l->s->backends_count++;
	return ERR_OK;
}

static enum err load_backends(struct loader *l, yaml_node_t *list)
{
	if (l->backends_seen)
		return fail(l->error, "%s:%lu: backends: given twice", l->file, line_of(list));
	l->backends_seen = true;
	if (list->type != YAML_SEQUENCE_NODE)
		return fail(l->error, "%s:%lu: backends: must be a list", l->file, line_of(list));
	for (yaml_node_item_t *it = list->data.sequence.items.start; it < list->data.sequence.items.top; it++) {
		if (l->s->backends_count == SETTINGS_BACKENDS_MAX)
			return fail(l->error, "%s:%lu: backends: at most %d", l->file, line_of(list),
			            SETTINGS_BACKENDS_MAX);
		enum err err = load_backend(l, yaml_document_get_node(l->doc, *it));
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* A setting that there is not, with the one that may be meant: a setting, or a section of them. */
static enum err unknown(struct loader *l, const char *name, unsigned long line)
{
	struct nearest nearest;
	size_t n = 0;

	nearest_begin(&nearest, name);
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		if (nearest_try(&nearest, table[i].name, strlen(table[i].name)))
			n = strlen(table[i].name);
		for (const char *dot = strchr(table[i].name, '.'); dot != NULL; dot = strchr(dot + 1, '.'))
			if (nearest_try(&nearest, table[i].name, (size_t)(dot - table[i].name)))
				n = (size_t)(dot - table[i].name);
	}
	if (nearest.name == NULL)
		return fail(l->error, "%s:%lu: %s: unknown setting", l->file, line, name);
	return fail(l->error, "%s:%lu: %s: unknown setting; is %.*s meant?", l->file, line, name, (int)n, nearest.name);
}

static enum err load_leaf(struct loader *l, const char *name, const yaml_node_t *key, const yaml_node_t *node)
{
	char where[SETTINGS_ERROR_MAX];
	const char *text = scalar(node);

	for (size_t i = 0; i < TABLE_SIZE; i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		if (text == NULL)
			return fail(l->error, "%s:%lu: %s: must be a plain value", l->file, line_of(node), name);
		if (l->seen[i])
			return fail(l->error, "%s:%lu: %s: given twice", l->file, line_of(node), name);
		l->seen[i] = true;
		snprintf(where, sizeof(where), "%s:%lu: %s", l->file, line_of(node), name);
		l->s->lines[i] = line_of(node);
		return set_value(l->s, i, text, where, l->error);
	}
	return unknown(l, name, line_of(key));
}

static bool is_section(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < TABLE_SIZE; i++)
		if (strncmp(table[i].name, name, len) == 0 && table[i].name[len] == '.')
			return true;
	return false;
}

static enum err load_mapping(struct loader *l, const char *prefix, yaml_node_t *map)
{
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
		char name[128];
		yaml_node_t *key_node = yaml_document_get_node(l->doc, p->key);
		yaml_node_t *node = yaml_document_get_node(l->doc, p->value);
		const char *key = scalar(key_node);
		if (key == NULL || strlen(prefix) + strlen(key) + 2 > sizeof(name))
			return fail(l->error, "%s:%lu: %.64s: a setting's name is a short plain word", l->file,
			            line_of(key_node), prefix);
		snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
		enum err err;
		if (strcmp(name, "backends") == 0)
			err = load_backends(l, node);
		else if (!is_section(name))
			err = load_leaf(l, name, key_node, node);
		else if (node->type == YAML_MAPPING_NODE)
			err = load_mapping(l, name, node);
		else
			err = fail(l->error, "%s:%lu: %s: must be a section with settings below it", l->file,
			           line_of(node), name);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

static enum err load_yaml(struct loader *l, const char *text, size_t len)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	enum err err = ERR_OK;

	if (!yaml_parser_initialize(&parser))
		return ERR_NOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		err = fail(l->error, "%s:%lu: not YAML: %s", l->file, (unsigned long)parser.problem_mark.line + 1,
		           parser.problem != NULL ? parser.problem : "unreadable");
		yaml_parser_delete(&parser);
		return err;
	}
	l->doc = &doc;
	yaml_node_t *root = yaml_document_get_root_node(&doc);
	if (root != NULL) {
		if (root->type == YAML_MAPPING_NODE)
			err = load_mapping(l, "", root);
		else
			err = fail(l->error, "%s:%lu: must be a mapping of sections", l->file, line_of(root));
	}
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	return err;
}

/* The value in "NAME=value" lines; the caller frees it; NULL: none. */
static char *find_line(const char *lines, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = lines; *line != '\0'; line += strcspn(line, "\n") + 1) {
		if (strncmp(line, name, len) == 0 && line[len] == '=') {
			char *value = strndup(line + len + 1, strcspn(line + len + 1, "\n"));
			CHECK(value != NULL);
			return value;
		}
	}
	return NULL;
}

static void add_line(char **lines, const char *name, const char *value)
{
	char *more;

	CHECK(asprintf(&more, "%s%s=%s\n", *lines != NULL ? *lines : "", name, value) >= 0);
	free(*lines);
	*lines = more;
}

/* Row i from the file that the environment names in `name`. */
static enum err load_secret_file(struct loader *l, size_t i, const char *name, const char *path)
{
	char where[160], why[SETTINGS_ERROR_MAX / 2];
	char *secret = NULL;

	snprintf(where, sizeof(where), "environment %s", name);
	if (l->inherited != NULL)
		secret = find_line(l->inherited, table[i].env);
	else if (secret_file_read(path, &secret, why, sizeof(why)) != ERR_OK)
		return fail(l->error, "%s: %s", where, path[0] != '\0' ? why : "names no file");
	if (secret == NULL)
		return fail(l->error, "%s: was not there when the program was started", where);
	l->s->lines[i] = LINE_SECRET_FILE;
	enum err err = set_value(l->s, i, secret, where, l->error);
	add_line(&l->s->secrets, table[i].env, secret);
	free(secret);
	return err;
}

static enum err load_environment(struct loader *l, const char *(*getenv_fn)(const char *))
{
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		char where[160], file[128];
		enum err err = ERR_OK;
		const char *text = getenv_fn(table[i].env);
		const char *path = NULL;
		snprintf(where, sizeof(where), "environment %s", table[i].env);
		snprintf(file, sizeof(file), "%s_FILE", table[i].env);
		if ((table[i].flags & (SETTING_SECRET | SETTING_URL_SECRET)) != 0)
			path = getenv_fn(file);
		if (text != NULL && path != NULL)
			return fail(l->error, "%s: given twice, also as %s", where, file);
		if (path != NULL) {
			err = load_secret_file(l, i, file, path);
		} else if (text != NULL) {
			l->s->lines[i] = LINE_ENVIRONMENT;
			err = set_value(l->s, i, text, where, l->error);
		}
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* HAProxy has it in a format, between tabs: no percent sign, and no blank. */
static const char token_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* What no single value, or its type, can tell. */
static enum err cross_check(const struct settings *s, char *error)
{
	char where[SETTINGS_ERROR_MAX / 2];
	enum log_format format;

	if (log_format_parse(s->log_format, &format) != ERR_OK)
		return fail(error, "%s: \"%s\" is not text or json",
		            settings_where(s, "log.format", where, sizeof(where)), s->log_format);
	if (strcmp(s->database_driver, "postgres") != 0)
		return fail(error, "%s: \"%s\" is not supported, only postgres",
		            settings_where(s, "database.driver", where, sizeof(where)), s->database_driver);
	if (strncmp(s->usage_bind, "unix@", 5) == 0)
		return fail(error, "%s: \"%s\" is not host:port, which is needed for UDP",
		            settings_where(s, "usage.bind", where, sizeof(where)), s->usage_bind);
	const struct {
		const char *name, *value;
	} tokens[] = { { "usage.token", s->usage_token }, { "usage.previous_token", s->usage_previous_token } };
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		if (tokens[i].value[strspn(tokens[i].value, token_characters)] != '\0')
			return fail(error, "%s: \"(hidden)\" may have letters of ASCII, digits, - and _ only",
			            settings_where(s, tokens[i].name, where, sizeof(where)));
	if (s->images_cache_mb > 0 && s->images_cache_max_object > s->images_cache_mb * (1024 * 1024 / 2))
		return fail(error, "%s: is more than half of images.cache_mb",
		            settings_where(s, "images.cache_max_object", where, sizeof(where)));
	if (s->auth_master_key[strspn(s->auth_master_key, "0123456789abcdefABCDEF")] != '\0')
		return fail(error, "%s: \"(hidden)\" must be 64 hex digits",
		            settings_where(s, "auth.master_key", where, sizeof(where)));
	if (s->haproxy_socket[0] != '\0' && s->haproxy_socket[0] != '/')
		return fail(error, "%s: \"%s\" is not a path from the root",
		            settings_where(s, "haproxy.socket", where, sizeof(where)), s->haproxy_socket);
	if (strncmp(s->api_bind, "unix@", 5) != 0 && s->api_token[0] == '\0')
		return fail(error, "%s: is not a unix socket, so api.token must be set",
		            settings_where(s, "api.bind", where, sizeof(where)));
	return ERR_OK;
}

static enum err load_text(struct settings *s, const char *name, const char *text, size_t len, const char *inherited,
                          const char *(*getenv_fn)(const char *), char *error)
{
	struct loader l = { .s = s, .file = name, .error = error, .inherited = inherited };

	memset(s, 0, sizeof(*s));
	error[0] = '\0';
	s->source = strdup(name);
	CHECK(s->source != NULL);
	for (size_t i = 0; i < TABLE_SIZE; i++)
		CHECK(set_value(s, i, table[i].def, table[i].name, error) == ERR_OK);
	enum err err = load_yaml(&l, text, len);
	if (err == ERR_OK && getenv_fn != NULL)
		err = load_environment(&l, getenv_fn);
	if (err == ERR_OK)
		err = cross_check(s, error);
	if (err != ERR_OK)
		settings_free(s);
	return err;
}

enum err settings_load_text(struct settings *s, const char *name, const char *text, size_t len,
                            const char *(*getenv_fn)(const char *), char *error)
{
	return load_text(s, name, text, len, NULL, getenv_fn, error);
}

void settings_free(struct settings *s)
{
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		if (!is_string(table[i].type))
			continue;
		char **slot = (void *)((char *)s + offsets[i]);
		free(*slot);
	}
	for (size_t i = 0; i < s->backends_count; i++)
		free(s->backends[i].url);
	free(s->source);
	free(s->text);
	free(s->secrets);
	memset(s, 0, sizeof(*s));
}

const char *settings_where(const struct settings *s, const char *name, char *buf, size_t size)
{
	snprintf(buf, size, "%s", name);
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		if (strcmp(table[i].name, name) != 0 || s->lines[i] == 0)
			continue;
		if (s->lines[i] == LINE_ENVIRONMENT)
			snprintf(buf, size, "environment %s: %s", table[i].env, name);
		else if (s->lines[i] == LINE_SECRET_FILE)
			snprintf(buf, size, "environment %s_FILE: %s", table[i].env, name);
		else
			snprintf(buf, size, "%s:%lu: %s", s->source != NULL ? s->source : "settings", s->lines[i],
			         name);
	}
	return buf;
}

const char *settings_origin(const struct settings *s, size_t i, char *buf, size_t size)
{
	if (s->lines[i] == 0)
		snprintf(buf, size, "default");
	else if (s->lines[i] == LINE_ENVIRONMENT)
		snprintf(buf, size, "environment");
	else if (s->lines[i] == LINE_SECRET_FILE)
		snprintf(buf, size, "secret file");
	else
		snprintf(buf, size, "line %lu", s->lines[i]);
	return buf;
}

bool settings_equal(const struct settings *a, const struct settings *b, size_t i)
{
	const void *left = (const char *)a + offsets[i], *right = (const char *)b + offsets[i];

	if (is_string(table[i].type)) {
		const char *const *x = left, *const *y = right;
		return strcmp(*x, *y) == 0;
	}
	return memcmp(left, right, table[i].type == SETTING_BOOL ? sizeof(bool) : sizeof(int64_t)) == 0;
}

enum log_format settings_log_format(const struct settings *s)
{
	enum log_format format;

	CHECK(log_format_parse(s->log_format, &format) == ERR_OK);
	return format;
}

static const char *environment(const char *name)
{
	return getenv(name);
}

/* Reads a whole file; NULL with errno set when it cannot. */
static char *read_file(const char *path, size_t *len)
{
	struct stat st;
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return NULL;
	if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > CONFIG_SIZE_MAX) {
		fclose(f);
		errno = EFBIG;
		return NULL;
	}
	char *text = check_calloc(1, (size_t)st.st_size + 1);
	*len = fread(text, 1, (size_t)st.st_size, f);
	int failed = ferror(f);
	fclose(f);
	if (failed) {
		free(text);
		errno = EIO;
		return NULL;
	}
	return text;
}

/* <folder of the program>/../var/gateway.yaml, when the program lies in a bin/ folder; "" when it cannot be told. */
static void checkout_config(char *path, size_t size)
{
	static const char name[] = "/var/gateway.yaml";
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	path[0] = '\0';
	if (n <= 0)
		return;
	exe[n] = '\0';
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(exe, '/');
		if (slash == NULL)
			return;
		*slash = '\0';
	}
	if (strlen(exe) + sizeof(name) <= size)
		snprintf(path, size, "%s%s", exe, name);
}

enum err settings_load(struct settings *s, const char *path, char *error)
{
	char beside[PATH_MAX];
	size_t len = 0;

	memset(s, 0, sizeof(*s));
	if (path == NULL)
		path = getenv("GATEWAY_CONFIG");
	if (path == NULL || path[0] == '\0') {
		checkout_config(beside, sizeof(beside));
		path = access(beside, F_OK) == 0 ? beside : SYSTEM_CONFIG;
		if (access(path, F_OK) != 0) {
			enum err err = settings_load_text(s, "(defaults)", "", 0, environment, error);
			free(s->source);
			s->source = NULL;
			return err;
		}
	}
	char *text = read_file(path, &len);
	if (text == NULL)
		return fail(error, "%s: %s", path, strerror(errno));
	enum err err = settings_load_text(s, path, text, len, environment, error);
	if (err != ERR_OK) {
		free(text);
		return err;
	}
	s->text = text;
	return ERR_OK;
}

static bool write_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, text, n);
		if (written < 0 && errno != EINTR)
			return false;
		if (written > 0) {
			text += written;
			n -= (size_t)written;
		}
	}
	return true;
}

/* Text, and if there are secrets, a NUL and them: without them it is what earlier versions of the program read. */
enum err settings_pass(const struct settings *s, int fd)
{
	const char *text = s->text != NULL ? s->text : "";

	if (!write_all(fd, text, strlen(text)))
		return ERR_IO;
	if (s->secrets == NULL)
		return ERR_OK;
	return write_all(fd, "", 1) && write_all(fd, s->secrets, strlen(s->secrets)) ? ERR_OK : ERR_IO;
}

enum err settings_load_passed(struct settings *s, const char *path, char *error)
{
	size_t len = 0;

	memset(s, 0, sizeof(*s));
	char *text = read_file(path, &len);
	if (text == NULL)
		return fail(error, "%s: %s", path, strerror(errno));
	size_t end = strlen(text);
	enum err err = load_text(s, path, text, end, end < len ? text + end + 1 : "", environment, error);
	if (err == ERR_OK)
		s->text = text;
	else
		free(text);
	return err;
}

const char *settings_value(const struct settings *s, size_t i, char *buf, size_t size)
{
	const struct setting_info *info = &table[i];
	const void *field = (const char *)s + offsets[i];
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	int64_t number = 0;

	if (is_string(info->type)) {
		const char *const *slot = field;
		if (info->flags & SETTING_SECRET)
			snprintf(buf, size, "%s", (*slot)[0] != '\0' ? "(set)" : "");
		else if (info->flags & SETTING_URL_SECRET)
			dsn_shown(*slot, buf, size);
		else
			snprintf(buf, size, "%s", *slot);
		return buf;
	}
	if (info->type == SETTING_BOOL) {
		const bool *flag = field;
		snprintf(buf, size, "%s", *flag ? "true" : "false");
		return buf;
	}
	memcpy(&number, field, sizeof(number));
	if (info->type == SETTING_LEVEL)
		snprintf(buf, size, "%s", levels[number]);
	else
		snprintf(buf, size, "%" PRId64 "%s", number, info->type == SETTING_DURATION ? "ms" : "");
	return buf;
}
