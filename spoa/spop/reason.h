/*
 * Why a connection ends: the status codes that DISCONNECT frames carry, and the finer reasons that the agent counts.
 */
#pragma once

#include <stdint.h>

/* The numbers are those of the wire (doc/SPOE.txt). HAProxy shows any other one as 99. */
enum spop_status {
	SPOP_STATUS_NORMAL = 0,
	SPOP_STATUS_IO = 1,
	SPOP_STATUS_TIMEOUT = 2,
	SPOP_STATUS_TOO_BIG = 3,
	SPOP_STATUS_INVALID = 4,
	SPOP_STATUS_NO_VERSION = 5,
	SPOP_STATUS_NO_FRAME_SIZE = 6,
	SPOP_STATUS_NO_CAPABILITIES = 7,
	SPOP_STATUS_BAD_VERSION = 8,
	SPOP_STATUS_BAD_FRAME_SIZE = 9,
	SPOP_STATUS_FRAGMENTED = 10,
	SPOP_STATUS_INTERLACED = 11,
	SPOP_STATUS_NO_FRAME_ID = 12,
	SPOP_STATUS_RESOURCE = 13,
	SPOP_STATUS_UNKNOWN = 99,
};

/* What was wrong with the input. */
enum spop_reason {
	SPOP_REASON_NONE = 0,
	SPOP_REASON_TOO_BIG,         /* the frame is longer than agreed */
	SPOP_REASON_HEADER,          /* a length of 0 or too small, or broken ids */
	SPOP_REASON_IDS,             /* a HELLO or DISCONNECT whose ids are not 0 */
	SPOP_REASON_NO_HELLO,        /* the first frame is no HELLO */
	SPOP_REASON_UNEXPECTED,      /* a second HELLO, or a frame that only agents send */
	SPOP_REASON_FRAGMENTED,      /* a frame in pieces */
	SPOP_REASON_PAYLOAD,         /* the payload breaks its grammar */
	SPOP_REASON_NO_VERSION,      /* HELLO without supported-versions */
	SPOP_REASON_NO_FRAME_SIZE,   /* HELLO without max-frame-size */
	SPOP_REASON_NO_CAPABILITIES, /* HELLO without capabilities */
	SPOP_REASON_BAD_VERSION,     /* no common version */
	SPOP_REASON_BAD_FRAME_SIZE,  /* max-frame-size out of its bounds */
	SPOP_REASON_COUNT
};

/* The sentence of a status code, in HAProxy's words; never NULL. */
const char *spop_status_text(uint32_t status);

/* "too_big", "header" ...: a metrics label; "none" for SPOP_REASON_NONE, "unknown" out of the table. */
const char *spop_reason_str(unsigned reason);

/* The status code that tells HAProxy of it. */
enum spop_status spop_reason_status(enum spop_reason reason);
