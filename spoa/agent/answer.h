/*
 * From a NOTIFY frame to its ACK: the one place where SPOP meets the policy.
 *
 * The message is `check` of haproxy/spoe.conf, with the arguments v id ip method path query key auth. The answer sets,
 * in the transaction's scope: verdict ("allow" or "deny"), code, status and detail of a refusal, user, key and scopes
 * as far as they are proved, route ("image" or "api") and, for images, target. docs/architecture.md describes them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/shared.h"
#include "base/cursor.h"
#include "base/settings.h"
#include "imgurl/target.h"
#include "policy/key.h"
#include "spop/conn.h"
#include "store/policy_db.h"

/* The most that one ACK takes; to be free in the output before answer_notify(). */
#define ANSWER_MAX (IMGURL_TARGET_MAX + 1024)

struct answerer {
	struct policy_db *db; /* opened as soon as the keeper made it; NULL until then */
	struct key_hasher *hasher;
	struct imgurl_signer *signer;
	struct agent_metrics *metrics;
	bool view_ok; /* the view of this turn can be read */
	struct sv target;
	char target_buf[IMGURL_TARGET_MAX];
};

/* ERR_INVALID with a log line when pepper, key or salt of the settings cannot be used. */
MUST_CHECK enum err answer_init(struct answerer *a, const struct settings *settings, struct agent_metrics *metrics);
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

/* Decides the request of `ev` (a SPOP_EVENT_NOTIFY) and writes its ACK. Counts the verdict and its time. */
MUST_CHECK enum err answer_notify(struct answerer *a, const struct spop_conn *conn, struct spop_event *ev,
                                  struct wcur *out);
