#include "spop/frame.h"

#include "base/check.h"
#include "spop/varint.h"

enum err spop_frame_decode(const uint8_t *p, size_t n, uint32_t max, struct spop_frame *out, size_t *consumed)
{
	struct rcur c;

	rcur_init(&c, p, n);
	uint32_t len = rcur_be32(&c);
	if (c.err != ERR_OK)
		return c.err;
	if (len < SPOP_FRAME_LEAST)
		return ERR_INVALID;
	if (len > max)
		return ERR_RANGE;
	if (len > rcur_left(&c))
		return ERR_INCOMPLETE;

	rcur_init(&c, c.p, len);
	struct spop_frame frame = { .type = rcur_u8(&c) };
	frame.flags = rcur_be32(&c);
	frame.stream_id = spop_varint_read(&c);
	frame.frame_id = spop_varint_read(&c);
	frame.payload = rcur_bytes(&c, rcur_left(&c));
	if (c.err != ERR_OK)
		return ERR_INVALID;
	*out = frame;
	*consumed = SPOP_LENGTH_BYTES + (size_t)len;
	return ERR_OK;
}

size_t spop_frame_begin(struct wcur *out, uint8_t type, uint32_t flags, uint64_t stream_id, uint64_t frame_id)
{
	CHECK(out->err == ERR_OK);
	size_t mark = wcur_len(out);

	wcur_be32(out, 0);
	wcur_u8(out, type);
	wcur_be32(out, flags);
	spop_varint_write(out, stream_id);
	spop_varint_write(out, frame_id);
	return mark;
}

void spop_frame_cancel(struct wcur *out, size_t mark)
{
	CHECK(mark <= wcur_len(out));
	out->p = out->start + mark;
	out->err = ERR_OK;
}

enum err spop_frame_end(struct wcur *out, size_t mark, uint32_t max)
{
	enum err err = out->err;

	if (err == ERR_OK) {
		size_t len = wcur_len(out) - mark - SPOP_LENGTH_BYTES;
		if (len <= max) {
			struct wcur length;

			wcur_init(&length, out->start + mark, SPOP_LENGTH_BYTES);
			wcur_be32(&length, (uint32_t)len);
			return ERR_OK;
		}
		err = ERR_RANGE;
	}
	spop_frame_cancel(out, mark);
	return err;
}

enum err spop_payload_err(enum err err)
{
	return err == ERR_INCOMPLETE ? ERR_INVALID : err;
}

enum err spop_kv_next(struct rcur *c, struct sv *name, struct spop_value *value)
{
	if (c->err == ERR_OK && rcur_left(c) == 0)
		return ERR_NOT_FOUND;

	struct sv key = spop_string_read(c);
	struct spop_value v = spop_value_read(c);
	if (c->err != ERR_OK)
		return spop_payload_err(c->err);
	*name = key;
	*value = v;
	return ERR_OK;
}

void spop_kv_write(struct wcur *c, struct sv name, const struct spop_value *value)
{
	spop_string_write(c, name);
	spop_value_write(c, value);
}

const char *spop_frame_type_str(int type)
{
	switch (type) {
	case SPOP_FRAME_UNSET:
		return "unset";
	case SPOP_FRAME_HAPROXY_HELLO:
		return "haproxy_hello";
	case SPOP_FRAME_HAPROXY_DISCONNECT:
		return "haproxy_disconnect";
	case SPOP_FRAME_NOTIFY:
		return "notify";
	case SPOP_FRAME_AGENT_HELLO:
		return "agent_hello";
	case SPOP_FRAME_AGENT_DISCONNECT:
		return "agent_disconnect";
	case SPOP_FRAME_ACK:
		return "ack";
	default:
		return "unknown";
	}
}
