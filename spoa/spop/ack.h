/*
 * ACK: the agent's answer to a NOTIFY, a list of actions on HAProxy variables, with the ids of the NOTIFY.
 *
 * A variable becomes <scope>.<var-prefix>.<name> in HAProxy and must be shorter than 64 bytes in all; longer names made
 * old versions read out of bounds. Names here have at most 24 bytes, which leaves 32 to the prefix.
 *
 * An ACK without an action is legal, but HAProxy 3.1.0 then waits until its time-out: the writer never makes one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"
#include "spop/value.h"

#define SPOP_VAR_MAX        63 /* bytes of a whole variable name in HAProxy */
#define SPOP_VAR_NAME_MAX   24
#define SPOP_VAR_PREFIX_MAX 32

/* The numbers are those of the wire. */
enum spop_scope {
	SPOP_SCOPE_PROC = 0,
	SPOP_SCOPE_SESS = 1,
	SPOP_SCOPE_TXN = 2,
	SPOP_SCOPE_REQ = 3,
	SPOP_SCOPE_RES = 4,
	SPOP_SCOPE_COUNT
};

enum spop_action_type {
	SPOP_ACTION_SET_VAR = 1,
	SPOP_ACTION_UNSET_VAR = 2,
};

struct spop_action {
	enum spop_action_type type;
	enum spop_scope scope;
	struct sv name;          /* into the payload */
	struct spop_value value; /* of SET_VAR; NULL for UNSET_VAR */
};

/* An ACK being written: begin, any number of set and unset, end. */
struct spop_ack {
	struct wcur *out;
	size_t mark;
	unsigned actions;
};

/* `out` must not have failed before, and nothing else may be written to it until spop_ack_end(). */
void spop_ack_begin(struct spop_ack *ack, struct wcur *out, uint64_t stream_id, uint64_t frame_id);

/*
 * An error shows in spop_ack_end(): ERR_INVALID for a name that spop_var_name_ok() refuses or a scope out of the table,
 * or that of the value. Setting a variable to NULL unsets it.
 */
void spop_ack_set(struct spop_ack *ack, enum spop_scope scope, struct sv name, struct spop_value value);
void spop_ack_unset(struct spop_ack *ack, enum spop_scope scope, struct sv name);

/*
 * Ends the frame; without any action so far it adds one that does nothing (unset of txn.<prefix>.none). On failure the
 * ACK is taken back whole and `out` can be used on: ERR_SPACE (buffer full), ERR_RANGE (longer than max), or the error
 * of an action.
 */
MUST_CHECK enum err spop_ack_end(struct spop_ack *ack, uint32_t max);

/* 1 to 24 letters, digits and underscores. */
bool spop_var_name_ok(struct sv name);

/*
 * The next action of the payload of an ACK. ERR_NOT_FOUND at its end; ERR_INVALID for an unknown action, a wrong number
 * of arguments, an unknown scope, or bytes that end too early; ERR_RANGE for a bad number. Nothing is set on failure.
 */
MUST_CHECK enum err spop_ack_next(struct rcur *c, struct spop_action *out);
