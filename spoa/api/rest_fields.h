/*
 * The fields of a body and the arguments of a query, checked. Each function returns false when it has refused the call,
 * with a sentence that begins with the field's name. A field that is null is as one that is not there, but for
 * those that change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/rest_call.h"
#include "store/admin_limit.h"

enum rest_need { REST_OPTIONAL = 0, REST_REQUIRED };

/* The body has no fields but these (NULL ends the list). */
bool rest_fields(struct rest_db_call *c, const char *const *names);

/* *out belongs to the body; NULL: not there. */
bool rest_text(struct rest_db_call *c, const char *name, enum rest_need need, const char **out);
bool rest_number(struct rest_db_call *c, const char *name, enum rest_need need, uint64_t least, uint64_t most,
                 bool *given, uint64_t *out);
bool rest_bool(struct rest_db_call *c, const char *name, bool *given, bool *out);
/* A number, or null: what the settings say. */
bool rest_change(struct rest_db_call *c, const char *name, uint64_t least, uint64_t most, struct admin_change *out);
/* Likewise a number with at most three digits behind the point; bounds are whole, what comes out is in thousandths. */
bool rest_change_thousandths(struct rest_db_call *c, const char *name, uint64_t least, uint64_t most,
                             struct admin_change *out);
/* Likewise true (1) or false (0). */
bool rest_change_bool(struct rest_db_call *c, const char *name, struct admin_change *out);
/* A list of some of the names, each at most once; bit i of *set: names[i]. */
bool rest_names(struct rest_db_call *c, const char *name, const char *const *names, size_t count, bool *given,
                unsigned *set);

/* Argument i of the query as a number; *out stays when it is not there. */
bool rest_arg_number(struct rest_db_call *c, size_t i, uint64_t least, uint64_t most, uint64_t *out);
