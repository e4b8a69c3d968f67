/*
 * From a NOTIFY frame to its ACK: the one place where SPOP meets the policy.
 *
 * The message is `check` of haproxy/spoe.conf, with the arguments v id ip method path query key auth. The answer sets,
 * in the transaction's scope: verdict ("allow" or "deny"), code, status and detail of a refusal, user, key and scopes
 * as far as they are proved, route ("api") with storage (the limit of uploads in bytes) or, for images, target; limits
 * (agent/limit_text.h) and, for a refusal by a limit, retry_after in seconds. docs/architecture.md describes them.
 *
 * A request that needs a lease from Redis is parked: its ACK is written some hundred microseconds later, and never
 * later than the deadline of store/leases.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/shared.h"
#include "agent/signers.h"
#include "base/cursor.h"
#include "base/settings.h"
#include "imgurl/rewrite.h"
#include "policy/decide.h"
#include "policy/key.h"
#include "spop/conn.h"
#include "store/leases.h"
#include "store/policy_db.h"

/* The most that one ACK takes; to be free in the output before answer_notify(). */
#define ANSWER_MAX (IMGURL_TARGET_MAX + 2048)

/* Requests that wait for Redis at a time; beyond them verdicts are given from memory. */
#define ANSWER_PARKED_MAX 1024

/*
 * What was read after a pause of this length may be of requests that HAProxy has given up: `timeout processing` of
 * haproxy/spoe.conf. They spend nothing, and get no verdict, so that HAProxy asks another worker if it still waits.
 */
#define ANSWER_STALE_NS (300 * NS_PER_MS)
/* The turn after the pause may be one of timers and signals; what lay in the sockets is read within so long. */
#define ANSWER_RESUME_NS (20 * NS_PER_MS)

struct answerer;

/* A request that waits for a lease; in use while owner is set. */
struct answer_parked {
	struct lease_waiter waiter;
	struct answer_parked *next; /* free ones */
	struct answerer *a;
	void *owner; /* as given to answer_notify() */
	uint64_t stream_id;
	uint64_t frame_id;
	uint64_t start_ns;
	bool stale; /* it waited for so long that HAProxy has given it up */
	struct policy_verdict verdict;
	struct sv target;
	char target_buf[IMGURL_TARGET_MAX];
};

struct answerer {
	struct policy_db *db; /* opened as soon as the keeper made it; NULL until then */
	struct key_hasher *hasher;
	struct imgurl_key upstream; /* imgproxy's */
	struct signers *signers;
	struct imgurl_bounds bounds; /* of who has none of their own */
	struct agent_metrics *metrics;
	struct policy_env env; /* its times and mode are renewed with the view */
	uint64_t per_address;  /* requests a minute of one address; 0: no limit */
	struct leases *leases; /* NULL: this host is alone */
	/* A parked request can be answered: the owner calls answer_parked_write(), or answer_forget() if it is gone. */
	void (*on_ready)(void *owner, struct answer_parked *p);
	struct answer_parked *parked; /* ANSWER_PARKED_MAX */
	struct answer_parked *free;
	size_t waiting;   /* parked ones in use */
	uint64_t turn_ns; /* when this turn of the loop began, and the one before it */
	uint64_t before_ns;
	uint64_t resumed_ns; /* when a turn began that came after a pause of ANSWER_STALE_NS; 0: never */
	bool view_ok;        /* the view of this turn can be read */
	/* Of the present request. */
	struct imgurl_opened opened;
	struct imgurl_out image;
};

/* ERR_INVALID with a log line when pepper, master key, key or salt of the settings cannot be used. `leases` may be
 * NULL. */
MUST_CHECK enum err answer_init(struct answerer *a, const struct settings *settings, struct agent_shared *shared,
                                struct leases *leases, void (*on_ready)(void *owner, struct answer_parked *p));
void answer_fini(struct answerer *a);

/*
 * Goes over to the policy's new file when it was replaced and the new one is loaded. Not between answer_renew() and
 * answer_release(); to be called about once a second.
 */
void answer_check_file(struct answerer *a, const char *state_dir);

/* At the start of a turn: sees the policy as it is now. Without a readable policy every verdict is `unavailable`. */
void answer_renew(struct answerer *a, const char *state_dir);
/* At the end of a turn. */
void answer_release(struct answerer *a);

/* To be called in each turn of the loop, and at least every 50 ms, with the time at which the turn began. */
void answer_turn(struct answerer *a, uint64_t now_ns);

/*
 * Decides the request of `ev` (a SPOP_EVENT_NOTIFY) and writes its ACK, or parks it for `owner`. Counts the verdict and
 * its time.
 */
MUST_CHECK enum err answer_notify(struct answerer *a, const struct spop_conn *conn, struct spop_event *ev,
                                  struct wcur *out, void *owner);

/* Writes the ACK of a parked request, and frees its place. */
MUST_CHECK enum err answer_parked_write(struct answer_parked *p, const struct spop_conn *conn, struct wcur *out);

/* The owner goes: its parked requests get no answer. */
void answer_forget(struct answerer *a, const void *owner);
