/*
 * The two HELLO frames. HAProxy starts with HAPROXY-HELLO (versions, its largest frame, capabilities, whether this is a
 * health check), the agent answers AGENT-HELLO (the version, the agreed largest frame, the agreed capabilities).
 *
 * Keys are compared whole: HAProxy itself matches by prefix, which a key like "versionX" fools. Unknown keys are
 * skipped; of a repeated key the last one counts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"
#include "spop/reason.h"

#define SPOP_VERSION        "2.0"
#define SPOP_CAP_PIPELINING "pipelining"

/* HAPROXY-HELLO. The views point into the payload. */
struct spop_hello {
	struct sv versions;      /* comma list, with blanks or without */
	uint32_t max_frame_size; /* 256 or more */
	struct sv capabilities;  /* comma list; empty in health checks */
	bool healthcheck;        /* HAProxy only wants the answer, and closes */
	bool has_healthcheck;    /* the key is there (HAProxy sends it in health checks alone) */
	struct sv engine_id;     /* {NULL, 0} without the key */
};

/* AGENT-HELLO. The views point into the payload. */
struct spop_agent_hello {
	struct sv version;
	uint32_t max_frame_size;
	struct sv capabilities;
};

/*
 * Reads the payload of a HAPROXY-HELLO; *out is set on success (SPOP_REASON_NONE) alone. Demands the three keys of the
 * protocol, a common version, and a max-frame-size of at least 256; a key with a value of another type is a
 * SPOP_REASON_PAYLOAD.
 */
MUST_CHECK enum spop_reason spop_hello_decode(struct sv payload, struct spop_hello *out);

/* The same for the payload of an AGENT-HELLO, as HAProxy checks it (without the upper bound of the frame size). */
MUST_CHECK enum spop_reason spop_agent_hello_decode(struct sv payload, struct spop_agent_hello *out);

/* Write a whole frame. Errors as spop_frame_end(): nothing is written then. */
MUST_CHECK enum err spop_hello_write(struct wcur *out, const struct spop_hello *hello);
MUST_CHECK enum err spop_agent_hello_write(struct wcur *out, uint32_t max_frame_size, bool pipelining);

/* Whether the comma list has this item; blanks around items do not count. */
bool spop_list_has(struct sv list, struct sv item);
