/* The counters that verdicts spend from, as they lie in shared memory (store/shm.h). All zero: nothing was spent yet.
 */
#pragma once

#include "policy/addresses.h"
#include "policy/limits.h"
#include "policy/request_ids.h"

struct policy_counters {
	struct address_table addresses; /* its seed is to be set before use */
	struct request_ids ids;
	struct limits_memory limits;
};
