#include "spop/disconnect.h"

static const struct sv key_status = { "status-code", 11 };
static const struct sv key_message = { "message", 7 };

enum err spop_disconnect_decode(struct sv payload, struct spop_disconnect *out)
{
	struct spop_disconnect disconnect = { .status = SPOP_STATUS_UNKNOWN };
	struct spop_value value;
	struct rcur c;
	struct sv name;
	enum err err;

	rcur_init(&c, payload.p, payload.n);
	while ((err = spop_kv_next(&c, &name, &value)) == ERR_OK) {
		if (sv_eq(name, key_status)) {
			int64_t status;

			if (!spop_value_int(&value, &status))
				return ERR_INVALID;
			disconnect.status = status >= 0 && status <= UINT32_MAX ? (uint32_t)status
			                                                        : SPOP_STATUS_UNKNOWN;
		} else if (sv_eq(name, key_message)) {
			if (value.type != SPOP_TYPE_STRING)
				return ERR_INVALID;
			disconnect.text = value.view;
		}
	}
	if (err != ERR_NOT_FOUND)
		return err;
	*out = disconnect;
	return ERR_OK;
}

enum err spop_disconnect_write(struct wcur *out, enum spop_frame_type type, uint32_t status, struct sv text)
{
	if (text.n > SPOP_DISCONNECT_TEXT_MAX)
		text.n = SPOP_DISCONNECT_TEXT_MAX;

	struct spop_value code = spop_uint32(status);
	struct spop_value message = spop_string(text);
	size_t mark = spop_frame_begin(out, (uint8_t)type, SPOP_FLAG_FIN, 0, 0);

	spop_kv_write(out, key_status, &code);
	spop_kv_write(out, key_message, &message);
	return spop_frame_end(out, mark, UINT32_MAX);
}
