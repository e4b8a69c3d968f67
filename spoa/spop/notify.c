#include "spop/notify.h"

#include "base/check.h"
#include "spop/frame.h"
#include "spop/varint.h"

void spop_notify_init(struct spop_notify *notify, struct sv payload)
{
	rcur_init(&notify->c, payload.p, payload.n);
	notify->args_left = 0;
}

enum err spop_notify_arg(struct spop_notify *notify, struct sv *name, struct spop_value *value)
{
	if (notify->c.err != ERR_OK)
		return spop_payload_err(notify->c.err);
	if (notify->args_left == 0)
		return ERR_NOT_FOUND;

	enum err err = spop_kv_next(&notify->c, name, value);
	/* The end of the payload is no end of the list here: the message promised more. */
	if (err == ERR_NOT_FOUND) {
		rcur_fail(&notify->c, ERR_INVALID);
		return ERR_INVALID;
	}
	if (err == ERR_OK)
		notify->args_left--;
	return err;
}

enum err spop_notify_message(struct spop_notify *notify, struct sv *name, unsigned *args)
{
	struct sv arg;
	struct spop_value value;
	enum err err;

	while ((err = spop_notify_arg(notify, &arg, &value)) == ERR_OK)
		;
	if (err != ERR_NOT_FOUND)
		return err;
	if (rcur_left(&notify->c) == 0)
		return ERR_NOT_FOUND;

	struct sv message = spop_string_read(&notify->c);
	unsigned count = rcur_u8(&notify->c);
	if (notify->c.err != ERR_OK)
		return spop_payload_err(notify->c.err);
	notify->args_left = count;
	*name = message;
	*args = count;
	return ERR_OK;
}

enum err spop_notify_check(struct sv payload, unsigned *messages)
{
	struct spop_notify notify;
	struct sv name;
	unsigned args;
	unsigned count = 0;
	enum err err;

	spop_notify_init(&notify, payload);
	while ((err = spop_notify_message(&notify, &name, &args)) == ERR_OK)
		count++;
	if (err != ERR_NOT_FOUND)
		return err;
	*messages = count;
	return ERR_OK;
}

void spop_message_write(struct wcur *c, struct sv name, unsigned args)
{
	CHECK(args <= SPOP_ARGS_MAX);
	spop_string_write(c, name);
	wcur_u8(c, (uint8_t)args);
}
