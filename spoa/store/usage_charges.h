/*
 * The bandwidth of the running months: what a usage record bills is charged to the user's slot (policy/limits.h), which
 * the verdict reads, as soon as the record arrives, and long before PostgreSQL has it. For the keeper.
 *
 * A slot counts what PostgreSQL has and what waits in the spool. To know the second, this keeps for each slot what was
 * charged and is not known to be in PostgreSQL, and of that what is on its way there: PostgreSQL may have that already,
 * so that it is left out when a row is learnt (store/quota_slots.h). What is learnt only ever raises a counter, hence
 * nothing is charged twice, and what a keeper that was killed has not charged comes with the next row.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "policy/limits.h"
#include "store/policy_db.h"

struct usage_charges;

/* The database must be open for writing, and outlive this, as must the memory. */
struct usage_charges *usage_charges_new(struct limits_memory *memory, struct policy_db *db);
/* NULL is allowed. */
void usage_charges_free(struct usage_charges *c);

struct usage_charge {
	uint64_t user;
	int64_t start_ms; /* Unix time: the month in which the request started is charged */
	uint64_t bytes;
};

/* Records that have arrived. A month that is over is not charged any more, nor is a user that the policy does not know.
 */
void usage_charges_add(struct usage_charges *c, const struct usage_charge *charges, size_t n);

/* They are on their way to PostgreSQL; it has them; it does not have them. */
void usage_charges_taken(struct usage_charges *c, const struct usage_charge *charges, size_t n);
void usage_charges_done(struct usage_charges *c, const struct usage_charge *charges, size_t n);
void usage_charges_back(struct usage_charges *c, const struct usage_charge *charges, size_t n);

/*
 * After a start, or when it is not known what PostgreSQL has of a batch: forget what waits, and then tell all that
 * does, by usage_charges_recover(). What was not charged before is charged with the next row that is learnt.
 */
void usage_charges_forget(struct usage_charges *c);
void usage_charges_recover(struct usage_charges *c, const struct usage_charge *charges, size_t n);

/*
 * Of a slot's running month, what was charged here and is certainly not in PostgreSQL yet. To be asked whenever a row
 * is learnt, which is how a reset day that was moved becomes known. c may be NULL: 0.
 */
uint64_t usage_charges_waiting(struct usage_charges *c, const struct limit_slot *slot, uint32_t period);
