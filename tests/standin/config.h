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

struct config {
	char bind[256];              /* IMGPROXY_BIND, host:port */
	struct secret key[KEYS_MAX]; /* IMGPROXY_KEY, paired by index with IMGPROXY_SALT */
	struct secret salt[KEYS_MAX];
	size_t keys;           /* 0: signatures are not checked */
	size_t signature_size; /* IMGPROXY_SIGNATURE_SIZE */
	const char *root;      /* IMGPROXY_LOCAL_FILESYSTEM_ROOT */
	double max_src_pixels; /* IMGPROXY_MAX_SRC_RESOLUTION, in pixels */
	long ttl;              /* IMGPROXY_TTL, seconds */
	long quality;          /* IMGPROXY_QUALITY */
	long workers;          /* IMGPROXY_WORKERS: images in progress at once */
	long stop_timeout;     /* IMGPROXY_GRACEFUL_STOP_TIMEOUT, seconds */
	long delay_ms;         /* STANDIN_DELAY_MS: every image takes this much longer */
	const char *name;      /* STANDIN_NAME: goes out as X-Served-By; NULL: not */
};

/* From the environment. False: a line on stderr says what is wrong. */
bool config_load(struct config *c);
