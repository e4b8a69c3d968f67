#include "spop/ack.h"

#include "spop/frame.h"
#include "spop/varint.h"

#define SET_ARGS   3
#define UNSET_ARGS 2

/* The longest scope is four letters, and two dots join the parts. */
_Static_assert(4 + 1 + SPOP_VAR_PREFIX_MAX + 1 + SPOP_VAR_NAME_MAX <= SPOP_VAR_MAX, "variable names fit HAProxy");

bool spop_var_name_ok(struct sv name)
{
	if (name.n == 0 || name.n > SPOP_VAR_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!sv_alnum(name.p[i]) && name.p[i] != '_')
			return false;
	return true;
}

void spop_ack_begin(struct spop_ack *ack, struct wcur *out, uint64_t stream_id, uint64_t frame_id)
{
	ack->out = out;
	ack->actions = 0;
	ack->mark = spop_frame_begin(out, SPOP_FRAME_ACK, SPOP_FLAG_FIN, stream_id, frame_id);
}

static void action_write(struct spop_ack *ack, enum spop_action_type type, unsigned args, enum spop_scope scope,
                         struct sv name)
{
	ack->actions++;
	if ((unsigned)scope >= SPOP_SCOPE_COUNT || !spop_var_name_ok(name)) {
		wcur_fail(ack->out, ERR_INVALID);
		return;
	}
	const uint8_t head[] = { (uint8_t)type, (uint8_t)args, (uint8_t)scope };
	wcur_bytes(ack->out, head, sizeof(head));
	spop_string_write(ack->out, name);
}

void spop_ack_set(struct spop_ack *ack, enum spop_scope scope, struct sv name, struct spop_value value)
{
	action_write(ack, SPOP_ACTION_SET_VAR, SET_ARGS, scope, name);
	spop_value_write(ack->out, &value);
}

void spop_ack_unset(struct spop_ack *ack, enum spop_scope scope, struct sv name)
{
	action_write(ack, SPOP_ACTION_UNSET_VAR, UNSET_ARGS, scope, name);
}

enum err spop_ack_end(struct spop_ack *ack, uint32_t max)
{
	if (ack->actions == 0)
		spop_ack_unset(ack, SPOP_SCOPE_TXN, SV("none"));
	return spop_frame_end(ack->out, ack->mark, max);
}

enum err spop_ack_next(struct rcur *c, struct spop_action *out)
{
	if (c->err == ERR_OK && rcur_left(c) == 0)
		return ERR_NOT_FOUND;

	uint8_t type = rcur_u8(c);
	uint8_t args = rcur_u8(c);
	uint8_t scope = rcur_u8(c);
	bool set = type == SPOP_ACTION_SET_VAR && args == SET_ARGS;
	bool unset = type == SPOP_ACTION_UNSET_VAR && args == UNSET_ARGS;
	if ((!set && !unset) || scope >= SPOP_SCOPE_COUNT)
		rcur_fail(c, ERR_INVALID);

	struct spop_action action = {
		.type = set ? SPOP_ACTION_SET_VAR : SPOP_ACTION_UNSET_VAR,
		.scope = (enum spop_scope)scope,
		.name = spop_string_read(c),
		.value = spop_null(),
	};
	if (set)
		action.value = spop_value_read(c);
	if (c->err != ERR_OK)
		return spop_payload_err(c->err);
	*out = action;
	return ERR_OK;
}
