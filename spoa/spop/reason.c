#include "spop/reason.h"

static const struct {
	const char *label;
	enum spop_status status;
} reasons[SPOP_REASON_COUNT] = {
	[SPOP_REASON_NONE] = { "none", SPOP_STATUS_NORMAL },
	[SPOP_REASON_TOO_BIG] = { "too_big", SPOP_STATUS_TOO_BIG },
	[SPOP_REASON_HEADER] = { "header", SPOP_STATUS_INVALID },
	[SPOP_REASON_IDS] = { "ids", SPOP_STATUS_INVALID },
	[SPOP_REASON_NO_HELLO] = { "no_hello", SPOP_STATUS_INVALID },
	[SPOP_REASON_UNEXPECTED] = { "unexpected", SPOP_STATUS_INVALID },
	[SPOP_REASON_FRAGMENTED] = { "fragmented", SPOP_STATUS_FRAGMENTED },
	[SPOP_REASON_PAYLOAD] = { "payload", SPOP_STATUS_INVALID },
	[SPOP_REASON_NO_VERSION] = { "no_version", SPOP_STATUS_NO_VERSION },
	[SPOP_REASON_NO_FRAME_SIZE] = { "no_frame_size", SPOP_STATUS_NO_FRAME_SIZE },
	[SPOP_REASON_NO_CAPABILITIES] = { "no_capabilities", SPOP_STATUS_NO_CAPABILITIES },
	[SPOP_REASON_BAD_VERSION] = { "bad_version", SPOP_STATUS_BAD_VERSION },
	[SPOP_REASON_BAD_FRAME_SIZE] = { "bad_frame_size", SPOP_STATUS_BAD_FRAME_SIZE },
};

const char *spop_reason_str(unsigned reason)
{
	return reason < SPOP_REASON_COUNT ? reasons[reason].label : "unknown";
}

enum spop_status spop_reason_status(enum spop_reason reason)
{
	return (unsigned)reason < SPOP_REASON_COUNT ? reasons[reason].status : SPOP_STATUS_UNKNOWN;
}

const char *spop_status_text(uint32_t status)
{
	/* A switch, not a table: the number comes from the wire. */
	switch (status) {
	case SPOP_STATUS_NORMAL:
		return "normal";
	case SPOP_STATUS_IO:
		return "I/O error";
	case SPOP_STATUS_TIMEOUT:
		return "a timeout occurred";
	case SPOP_STATUS_TOO_BIG:
		return "frame is too big";
	case SPOP_STATUS_INVALID:
		return "invalid frame received";
	case SPOP_STATUS_NO_VERSION:
		return "version value not found";
	case SPOP_STATUS_NO_FRAME_SIZE:
		return "max-frame-size value not found";
	case SPOP_STATUS_NO_CAPABILITIES:
		return "capabilities value not found";
	case SPOP_STATUS_BAD_VERSION:
		return "unsupported version";
	case SPOP_STATUS_BAD_FRAME_SIZE:
		return "max-frame-size too big or too small";
	case SPOP_STATUS_FRAGMENTED:
		return "payload fragmentation is not supported";
	case SPOP_STATUS_INTERLACED:
		return "invalid interlaced frames";
	case SPOP_STATUS_NO_FRAME_ID:
		return "frame-id not found";
	case SPOP_STATUS_RESOURCE:
		return "resource allocation error";
	default:
		return "an unknown error occurred";
	}
}
