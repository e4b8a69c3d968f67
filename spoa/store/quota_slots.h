/*
 * The keeper's view of the slots of limits.h: which of them have requests that PostgreSQL does not know, and which are
 * not as policy.mdb has them.
 *
 * What is needed to go on lies in the shared memory, and each step there is one store: a keeper that is killed at any
 * moment leaves its successor a state from which nothing is added twice, and nothing is forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/limits.h"
#include "store/policy_db.h"
#include "store/usage_charges.h"

#define QUOTA_BATCH_MAX 2000
#define QUOTA_WORDS     (LIMITS_USERS_MAX / 64)
#define QUOTA_SAVE_MAX  10000 /* slots that are written to policy.mdb at once */

struct quota_slots {
	struct limits_memory *memory;
	struct policy_db *db;
	struct usage_charges *charges; /* what waits of the bandwidth; NULL: usage is not recorded here */
	/* The addition under way: it is the same until PostgreSQL has it. */
	size_t count;
	struct limit_slot *batch[QUOTA_BATCH_MAX];
	uint64_t unflushed[QUOTA_WORDS]; /* slots to be added, one bit each */
	uint64_t unsaved[QUOTA_WORDS];   /* slots to be written to policy.mdb */
	size_t flush_from;               /* words of these, so that all have their turn */
	size_t save_from;
};

/* Takes over what a keeper before this one left. */
void quota_slots_init(struct quota_slots *s, struct limits_memory *memory, struct policy_db *db,
                      struct usage_charges *charges);

/* Looks which slots have admitted something. */
void quota_slots_sweep(struct quota_slots *s);

/* Fills an empty batch, under the next number. */
void quota_slots_collect(struct quota_slots *s);
bool quota_slots_full(const struct quota_slots *s);

/* What the addition under way adds for a slot: a word of quota.h. */
uint64_t quota_slot_addition(const struct limit_slot *slot);

/* PostgreSQL has the batch; it stays to be looked at. */
void quota_slots_added(struct quota_slots *s);

/* What PostgreSQL has of a user's month that runs now. */
struct quota_stored {
	uint64_t requests;
	uint64_t bytes;
};
void quota_slots_learn(struct quota_slots *s, struct limit_slot *slot, const struct quota_stored *stored,
                       uint32_t period);
/*
 * The same for a user without a slot, who has only the record in policy.mdb; it becomes the slot's when they come.
 * *unwritten (NULL: a transaction is under way, write) is set when there was something to write.
 */
MUST_CHECK enum err quota_slots_learn_absent(struct quota_slots *s, uint64_t user_id, const struct quota_stored *stored,
                                             uint32_t period, bool *unwritten);

/*
 * Writes some of what is unsaved to policy.mdb, *more: not yet all. ERR_BAD_STATE when a load has the file: the next
 * time will do, as after any other error.
 */
MUST_CHECK enum err quota_slots_save(struct quota_slots *s, bool *more);
