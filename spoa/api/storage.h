/*
 * How much of the storage limit each user has used: the files in the user's folder, each with what it takes on a disk
 * (whole blocks of STORAGE_BLOCK bytes, at least one, so that millions of tiny files are not for nothing), and what
 * uploads under way have reserved. Every number that comes out of here is in bytes, and of whole blocks; limits are
 * taken as they are. All in memory; the folder is counted at the first use with a limit, and every change goes through
 * this file from then on. Before a user is refused, a count that is older than some seconds is made anew, so that files
 * which somebody else removed do not stay in the way; and once more when the process before this one has surely ended.
 *
 * An account is shared by everything that its user does at once. Any thread may call; a count holds up its user alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define STORAGE_BLOCK UINT64_C(4096)

struct storage;
struct storage_account;

/* What a file of so many bytes counts. */
uint64_t storage_size(uint64_t bytes);

/* settle_ns: when (CLOCK_MONOTONIC) no other process changes the folders any more. NULL: no memory. */
struct storage *storage_new(uint64_t settle_ns);
void storage_free(struct storage *s);

/* The user's account, to be given back with storage_close(). NULL: no memory. */
struct storage_account *storage_open(struct storage *s, uint64_t user);
void storage_close(struct storage *s, struct storage_account *a);

/* What was refused, for the answer. */
struct storage_use {
	uint64_t used; /* reserved bytes included */
	uint64_t limit;
};

/*
 * Reserves room for `want` bytes, or all that is left when that is less and still has room for `least`; *got says how
 * much, in whole blocks. `folder` is the user's, for the count. limit 0: no limit, and nothing is counted. ERR_REFUSED:
 * less is left, *use says how much is used; ERR_IO: the folder cannot be read (errno).
 */
MUST_CHECK enum err storage_reserve(struct storage_account *a, int folder, uint64_t limit, uint64_t want,
                                    uint64_t least, uint64_t now_ns, uint64_t *got, struct storage_use *use);
/* `bytes`: what storage_reserve() gave, or the sum of several. */
void storage_release(struct storage_account *a, uint64_t bytes);

/*
 * Around a change of the folder: no count and no other change meanwhile. At its end: what the file that came counts
 * (storage_size()), what those that went did, and how much of the reserved room is given back, in one step, so that
 * nobody sees an upload twice.
 */
void storage_lock(struct storage_account *a);
void storage_unlock(struct storage_account *a, uint64_t added, uint64_t removed, uint64_t released);
