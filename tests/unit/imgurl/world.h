/* What the tests of imgurl share: imgproxy's key of its documentation, a user's key, a tenant, and lists. */
#pragma once

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "imgurl/rewrite.h"

#define KEY_HEX  "736563726574" /* secret */
#define SALT_HEX "68656C6C6F"   /* hello */
#define USER_ID  7
#define NOW      INT64_C(1800000000)

/* "secret" and "hello", as in imgproxy's documentation. */
static inline const struct imgurl_key *documented_key(void)
{
	static struct imgurl_key key;

	assert_int_equal(imgurl_key_hex(&key, KEY_HEX, SALT_HEX), ERR_OK);
	return &key;
}

/* The list of these texts, the last one NULL. */
static inline struct imgurl_list list_of(uint8_t *buf, size_t size, const char *const *texts)
{
	size_t n = 0;

	for (; *texts != NULL; texts++) {
		uint16_t length = (uint16_t)strlen(*texts);
		assert_true(n + sizeof(length) + length <= size);
		memcpy(buf + n, &length, sizeof(length));
		memcpy(buf + n + sizeof(length), *texts, length);
		n += sizeof(length) + length;
	}
	return (struct imgurl_list){ buf, n };
}

static inline struct imgurl_tenant make_tenant(void)
{
	static const char *const sources[] = { "https://cdn.example.com/a/", "http://images.example/", "s3://bucket/a/",
		                               "https://one.example/only.jpg", NULL };
	static const char *const presets[] = { "thumb", "x", NULL };
	static uint8_t source_buf[256];
	static uint8_t preset_buf[64];

	return (struct imgurl_tenant){
		.user_id = USER_ID,
		.bounds = { .max_dimension = 4096,
		            .max_ratio = 24,
		            .max_dpr = 4000,
		            .max_zoom = 4000,
		            .max_blur = 50000,
		            .max_quality = 100 },
		.sources = list_of(source_buf, sizeof(source_buf), sources),
		.presets = list_of(preset_buf, sizeof(preset_buf), presets),
	};
}

static inline const char *result_name(enum imgurl_result result)
{
	static const char *const names[] = { "ok", "invalid", "signature", "source", "option", "expired", "internal" };

	return names[result];
}
