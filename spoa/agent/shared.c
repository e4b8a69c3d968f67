#include "agent/shared.h"

#include <sys/random.h>
#include <unistd.h>

#include "store/shm.h"

const uint64_t agent_bucket_ns[AGENT_BUCKETS] = {
	1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 10000000, 100000000,
};

enum err agent_shared_make(int *fd, struct agent_shared **out)
{
	void *mem = NULL;
	uint64_t random[2];

	*out = NULL;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return ERR_IO;
	enum err err = shm_make("gateway-counters", AGENT_SHARED_LAYOUT, sizeof(struct agent_shared), fd, &mem);
	if (err != ERR_OK)
		return err;
	*out = mem;
	(*out)->host_id = random[0];
	(*out)->counters.addresses.seed = random[1];
	return ERR_OK;
}

enum err agent_shared_map(int fd, struct agent_shared **out)
{
	void *mem = NULL;
	enum err err = shm_map(fd, AGENT_SHARED_LAYOUT, sizeof(struct agent_shared), &mem);

	*out = mem;
	return err;
}

void agent_shared_unmap(struct agent_shared *shared)
{
	if (shared != NULL)
		shm_unmap(shared, sizeof(*shared));
}

void agent_count_verdict(struct agent_metrics *m, enum verdict_code code, uint64_t ns)
{
	size_t bucket = 0;

	while (bucket < AGENT_BUCKETS && ns > agent_bucket_ns[bucket])
		bucket++;
	agent_count(&m->verdicts[code]);
	agent_count(&m->verdict_buckets[bucket]);
	atomic_fetch_add_explicit(&m->verdict_ns, ns, memory_order_relaxed);
}
