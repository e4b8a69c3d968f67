/* The handlers of the table in rest_route.c; one file a resource. What each answers stands in docs/api.md. */
#pragma once

#include "api/rest_call.h"

void rest_me_get(struct rest_db_call *c);
void rest_usage_own(struct rest_db_call *c);
void rest_usage_user(struct rest_db_call *c);

void rest_users_list(struct rest_db_call *c);
void rest_users_add(struct rest_db_call *c);
void rest_users_get(struct rest_db_call *c);
void rest_users_patch(struct rest_db_call *c);
void rest_users_delete(struct rest_db_call *c);

void rest_keys_list(struct rest_db_call *c);
void rest_keys_create(struct rest_db_call *c);
void rest_keys_get(struct rest_db_call *c);
void rest_keys_revoke(struct rest_db_call *c);
void rest_keys_rotate(struct rest_db_call *c);

void rest_limits_get(struct rest_db_call *c);
void rest_limits_put(struct rest_db_call *c);
void rest_limits_patch(struct rest_db_call *c);
void rest_quota_get(struct rest_db_call *c);
void rest_quota_put(struct rest_db_call *c);
void rest_quota_patch(struct rest_db_call *c);

void rest_image_bounds_get(struct rest_db_call *c);
void rest_image_bounds_put(struct rest_db_call *c);
void rest_image_bounds_patch(struct rest_db_call *c);

void rest_allow_list(struct rest_db_call *c);
void rest_allow_add(struct rest_db_call *c);
void rest_allow_remove(struct rest_db_call *c);

void rest_sources_list(struct rest_db_call *c);
void rest_sources_add(struct rest_db_call *c);
void rest_sources_remove(struct rest_db_call *c);

void rest_backends_list(struct rest_db_call *c);
void rest_backends_add(struct rest_db_call *c);
void rest_backends_get(struct rest_db_call *c);
void rest_backends_patch(struct rest_db_call *c);
void rest_backends_remove(struct rest_db_call *c);
