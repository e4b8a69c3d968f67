/*
 * The ids of requests that have spent, for some seconds, in shared memory: a request whose verdict got lost (its worker
 * died or froze) is asked for again from another worker, and must not spend twice.
 *
 * A table of fixed size without locks. A word holds a hash of the id, what was spent, and when. Eight words share a
 * cache line; a new id takes the oldest of its line, so that at 50,000 requests a second an id is known for 4 seconds
 * on average, far longer than a retry takes.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/sv.h"

#define REQUEST_IDS_WAYS  8
#define REQUEST_IDS_LINES (UINT32_C(1) << 15)
/* For how long an id is known at least, if its place is not needed before. */
#define REQUEST_ID_KEPT_MS 60000

enum request_spent {
	REQUEST_SPENT_ADDRESS = 1, /* the bucket of the client's address */
	REQUEST_SPENT_USER = 2,    /* the limits of the user */
};

struct request_ids {
	_Alignas(64) _Atomic uint64_t words[REQUEST_IDS_LINES][REQUEST_IDS_WAYS];
};

/* A request's place in the table. */
struct request_id {
	_Atomic uint64_t *word; /* NULL: it has no id, and is not remembered */
	uint64_t tag;
	unsigned spent; /* enum request_spent, as it was found and marked */
};

/* Looks the id up, and makes a place for it. An empty id has none. now_ns is monotonic. */
void request_id_find(struct request_ids *t, struct sv id, uint64_t now_ns, struct request_id *out);

/*
 * Notes that the request is about to spend that: before it does, so that a worker that dies between the two costs a
 * token at most, and no request twice. False: another worker has noted it meanwhile, and it is not to be spent.
 */
bool request_id_mark(struct request_id *id, enum request_spent spent, uint64_t now_ns);
/* It was not spent after all. */
void request_id_unmark(struct request_id *id, enum request_spent spent);
