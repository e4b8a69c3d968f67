/*
 * Settings: one table (settings.def), read from a YAML file and from the environment, which wins. Of a setting that is
 * secret the environment can also give a file that holds nothing else: NAME_FILE instead of NAME.
 *
 * Every value is checked against its type and bounds when it is read, and an error names file, line and key, or the
 * environment variable. Unknown keys and keys given twice are errors. The file is UTF-8 YAML 1.1 (libyaml), a mapping
 * of sections as in configs/config.yaml.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"

enum setting_flag {
	SETTING_SECRET = 1,     /* never printed */
	SETTING_URL_SECRET = 2, /* printed without its password */
	SETTING_RESTART = 4,    /* a running agent does not change it at a reload */
	SETTING_OPTIONAL = 8,   /* may be empty; min counts for other values */
};

enum setting_type {
	SETTING_STR = 0,
	SETTING_PATH,
	SETTING_ADDR,
	SETTING_INT,
	SETTING_BOOL,
	SETTING_DURATION,
	SETTING_SIZE,
	SETTING_LEVEL,
};

#define SETTINGS_BACKENDS_MAX 32
#define SETTINGS_MAX          96

/* One image server of the list `backends`. */
struct setting_backend {
	char *url;       /* http://host:port */
	uint32_t weight; /* 0 to 256, as HAProxy's */
};

#define SETTING_C_STR                                               char *
#define SETTING_C_PATH                                              char *
#define SETTING_C_ADDR                                              char *
#define SETTING_C_INT                                               int64_t
#define SETTING_C_BOOL                                              bool
#define SETTING_C_DURATION                                          int64_t
#define SETTING_C_SIZE                                              int64_t
#define SETTING_C_LEVEL                                             int64_t
#define SETTING(field, type, name, env, def, min, max, flags, help) SETTING_C_##type field;
struct settings {
#include "base/settings.def"
	struct setting_backend backends[SETTINGS_BACKENDS_MAX];
	size_t backends_count;
	char *source; /* the file that was read, or NULL */
	char *text;   /* its content, NUL-terminated, or NULL */
	/* What the files of secrets held: lines NAME=value, where NAME is that of the environment; NULL: none. */
	char *secrets;
	/* Where each row of the table was set, for settings_where(): 0 nowhere, a line of the file, or the environment.
	 */
	unsigned long lines[SETTINGS_MAX];
};
#undef SETTING

/* One row of the table, for programs that print or document it. */
struct setting_info {
	const char *name;
	const char *env;
	const char *def;
	const char *help;
	enum setting_type type;
	int64_t min;
	int64_t max;
	unsigned flags;
};
const struct setting_info *settings_table(size_t *count);

#define SETTINGS_ERROR_MAX 512

/*
 * Loads from `path`; when it is NULL, from $GATEWAY_CONFIG, else var/gateway.yaml beside the program's bin/ folder,
 * else /etc/imgproxy-gateway/config.yaml, else from nothing but the defaults. Then the environment. On an error *s is
 * empty and `error` (SETTINGS_ERROR_MAX bytes) holds a line for a person. The caller frees *s with settings_free().
 */
MUST_CHECK enum err settings_load(struct settings *s, const char *path, char *error);

/* The same from text; `name` stands for the file in errors; getenv_fn may be NULL (no environment). */
MUST_CHECK enum err settings_load_text(struct settings *s, const char *name, const char *text, size_t len,
                                       const char *(*getenv_fn)(const char *), char *error);

/*
 * Writes to fd what a child needs, besides the same environment, to have the very settings that *s was loaded with,
 * whatever became of the files since; settings_load_passed() reads it from `path`. ERR_IO with errno.
 */
MUST_CHECK enum err settings_pass(const struct settings *s, int fd);
MUST_CHECK enum err settings_load_passed(struct settings *s, const char *path, char *error);

void settings_free(struct settings *s);

/*
 * Where the setting `name` came from, as errors begin: "FILE:LINE: name", "environment NAME: name", or the name alone
 * when it has its default. For checks that only a program can make. Returns buf.
 */
const char *settings_where(const struct settings *s, const char *name, char *buf, size_t size);

/* The same of row i, short: "line 12" (of s->source), "environment", "secret file" or "default". Returns buf. */
const char *settings_origin(const struct settings *s, size_t i, char *buf, size_t size);

/* Whether row i has one value in both. */
bool settings_equal(const struct settings *a, const struct settings *b, size_t i);

/* log.format, which has been checked. */
enum log_format settings_log_format(const struct settings *s);

/*
 * Writes the value of row i as text into buf (size bytes): secrets as "(set)" or "", URLs without their password.
 * Returns buf.
 */
const char *settings_value(const struct settings *s, size_t i, char *buf, size_t size);
