/*
 * Users, keys, limits, quotas, bounds of images, allow lists, sources and backends as JSON: one shape for `gatewayctl
 * --json` and the REST interface. The caller owns what it gets.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/settings.h"
#include "store/admin_allow.h"
#include "store/admin_backend.h"
#include "store/admin_image.h"
#include "store/admin_key.h"
#include "store/admin_limit.h"
#include "store/admin_source.h"
#include "store/admin_user.h"

/* A string, or null for NULL. Bytes that are no UTF-8 become "?". */
json_t *admin_json_text(const char *text);

/* The names whose bit is set (bit i: names[i]). */
json_t *admin_json_names(const char *const *names, size_t count, unsigned set);

/* What is used of a limit in whole percents, rounded down; null without a limit. */
json_t *admin_json_percent(uint64_t used, uint64_t limit);

json_t *admin_json_user(const struct admin_user *u);
json_t *admin_json_key(const struct admin_key *k);
json_t *admin_json_keys(const struct admin_keys *list);
/* The numbers that hold, and `defaults`: which of them are the settings'. */
json_t *admin_json_limits(const struct settings *s, const struct admin_limits *l);
json_t *admin_json_quotas(const struct settings *s, const struct admin_quotas *q);
json_t *admin_json_images(const struct settings *s, const struct admin_images *i);
json_t *admin_json_allow(const struct admin_allow *a);
json_t *admin_json_allows(const struct admin_allows *list);
json_t *admin_json_source(const struct admin_source *s);
json_t *admin_json_sources(const struct admin_sources *list);
json_t *admin_json_backend(const struct admin_backend *b);
json_t *admin_json_backends(const struct admin_backends *list);
