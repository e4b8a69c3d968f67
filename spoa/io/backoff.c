#include "io/backoff.h"

#include <stdint.h>
#include <sys/random.h>

unsigned backoff_next_ms(struct backoff *b)
{
	uint16_t random = 0;
	unsigned base = b->base_ms > 0 ? b->base_ms : BACKOFF_FIRST_MS;
	unsigned max = b->max_ms > 0 ? b->max_ms : BACKOFF_MAX_MS;
	b->base_ms = base * 2 < max ? base * 2 : max;
	/* Without a random number clients may come back together: a pity, no error. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = 0;
	return base - random % (base / 2 + 1);
}
