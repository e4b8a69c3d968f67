/*
 * The payload of a NOTIFY: messages one after the other, each a name, a number of arguments (0 to 255), and that many
 * pairs of name and typed value. Names may be empty, any value may be NULL.
 *
 * The reader walks over the payload once, without memory of its own:
 *
 *	while ((err = spop_notify_message(&notify, &name, &args)) == ERR_OK)
 *		while ((err = spop_notify_arg(&notify, &arg, &value)) == ERR_OK)
 *			...
 *
 * Arguments that the caller did not read are skipped by the next spop_notify_message().
 */
#pragma once

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"
#include "spop/value.h"

#define SPOP_ARGS_MAX 255

struct spop_notify {
	struct rcur c;
	unsigned args_left; /* of the present message */
};

void spop_notify_init(struct spop_notify *notify, struct sv payload);

/*
 * The next message. ERR_NOT_FOUND after the last one, ERR_INVALID or ERR_RANGE for a payload that breaks its grammar;
 * such an error stays. Nothing is set on failure. Views point into the payload.
 */
MUST_CHECK enum err spop_notify_message(struct spop_notify *notify, struct sv *name, unsigned *args);

/* The next argument of the present message; results as above. */
MUST_CHECK enum err spop_notify_arg(struct spop_notify *notify, struct sv *name, struct spop_value *value);

/* Walks over the whole payload: ERR_OK and the number of messages, or the first error. An iteration then cannot fail.
 */
MUST_CHECK enum err spop_notify_check(struct sv payload, unsigned *messages);

/* Writes the head of a message; its arguments follow as spop_kv_write(). */
void spop_message_write(struct wcur *c, struct sv name, unsigned args);
