/*
 * Bounds of what users' images may be asked to become, as an operator handles them. Errors as in store/admin_user.h.
 * What a user has no value of their own for is a setting's; this file does not know the settings.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"
#include "store/admin_limit.h"

#define ADMIN_DIMENSION_MAX 1000000
#define ADMIN_FACTOR_MAX    1000 /* of dpr, zoom and blur */
#define ADMIN_QUALITY_MAX   100

/* The texts belong to this struct, which is freed. */
struct admin_images {
	uint64_t user_id;
	const char *username;
	struct admin_number max_dimension;
	struct admin_number max_dpr;  /* thousandths */
	struct admin_number max_zoom; /* thousandths */
	struct admin_number max_blur; /* thousandths */
	struct admin_number max_quality;
	struct admin_number require_expires; /* 0 or 1 */
	const char *presets;                 /* comma list; NULL: none */
	struct pg_result *rows;
};

struct admin_images_wish {
	struct admin_change max_dimension; /* 1 to 10^6 */
	struct admin_change max_dpr;       /* 1000 to 10^6, as max_zoom */
	struct admin_change max_zoom;
	struct admin_change max_blur;        /* at most 10^6 */
	struct admin_change max_quality;     /* 1 to 100 */
	struct admin_change require_expires; /* 0 or 1 */
	bool presets_given;
	const char *presets; /* comma list; NULL: none */
};

void admin_images_free(struct admin_images *i);
MUST_CHECK enum err admin_images_find(struct pg_sync *db, const char *user, struct admin_images *out, char *error);
/* Changes what was given; gives all of it, as it is then. */
MUST_CHECK enum err admin_images_set(struct pg_sync *db, const char *user, const struct admin_images_wish *wish,
                                     struct admin_images *out, char *error);
