/* Settings of the stand-in, from imgproxy's own environment names, and STANDIN_… for what imgproxy does not have. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS_MAX     8
#define KEY_SIZE_MAX 256

struct secret {
	uint8_t bytes[KEY_SIZE_MAX];
	size_t len;
};

/* A list from the environment: `count` strings that follow one another, each with its NUL. */
struct words {
	char *text; /* NULL: none */
	size_t count;
};

struct config {
	char bind[256];              /* IMGPROXY_BIND, host:port; with IMGPROXY_NETWORK=unix a path */
	bool unix_socket;            /* IMGPROXY_NETWORK is unix */
	struct secret key[KEYS_MAX]; /* IMGPROXY_KEY, paired by index with IMGPROXY_SALT */
	struct secret salt[KEYS_MAX];
	size_t keys;               /* 0: signatures are not checked */
	size_t signature_size;     /* IMGPROXY_SIGNATURE_SIZE */
	struct words trusted;      /* IMGPROXY_TRUSTED_SIGNATURES */
	const char *secret;        /* IMGPROXY_SECRET; NULL: none */
	const char *root;          /* IMGPROXY_LOCAL_FILESYSTEM_ROOT */
	const char *base_url;      /* IMGPROXY_BASE_URL, "" for none */
	const char *query;         /* IMGPROXY_SOURCE_URL_QUERY_SEPARATOR, "" for none */
	struct words allowed;      /* IMGPROXY_ALLOWED_SOURCES */
	struct words options;      /* IMGPROXY_ALLOWED_PROCESSING_OPTIONS */
	struct words presets;      /* IMGPROXY_PRESETS, each "name=option/option" */
	bool only_presets;         /* IMGPROXY_ONLY_PRESETS */
	bool security_options;     /* IMGPROXY_ALLOW_SECURITY_OPTIONS */
	bool filename_in_url;      /* IMGPROXY_BASE64_URL_INCLUDES_FILENAME */
	bool allow_loopback;       /* IMGPROXY_ALLOW_LOOPBACK_SOURCE_ADDRESSES */
	bool allow_link_local;     /* IMGPROXY_ALLOW_LINK_LOCAL_SOURCE_ADDRESSES */
	bool allow_private;        /* IMGPROXY_ALLOW_PRIVATE_SOURCE_ADDRESSES */
	long max_redirects;        /* IMGPROXY_MAX_REDIRECTS */
	long download_timeout;     /* IMGPROXY_DOWNLOAD_TIMEOUT, seconds */
	double max_src_pixels;     /* IMGPROXY_MAX_SRC_RESOLUTION, in pixels */
	long max_src_size;         /* IMGPROXY_MAX_SRC_FILE_SIZE, bytes; 0: no limit */
	long max_result_dimension; /* IMGPROXY_MAX_RESULT_DIMENSION; 0: no limit */
	long ttl;                  /* IMGPROXY_TTL, seconds */
	long quality;              /* IMGPROXY_QUALITY */
	long workers;              /* IMGPROXY_WORKERS: images in progress at once */
	long stop_timeout;         /* IMGPROXY_GRACEFUL_STOP_TIMEOUT, seconds */
	long delay_ms;             /* STANDIN_DELAY_MS: every image takes this much longer */
	const char *name;          /* STANDIN_NAME: goes out as X-Served-By; NULL: not */
};

/* From the environment. False: a line on stderr says what is wrong. */
bool config_load(struct config *c);

/* The string after `word` in the list; with NULL the first. NULL at the end. */
const char *words_next(const struct words *w, const char *word);

/* Whether the list has this string (n bytes). */
bool words_have(const struct words *w, const char *text, size_t n);
