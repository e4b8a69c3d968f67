/* Waiting times between attempts to connect: 100 ms, doubling up to 5 s or less, each less a random part of up to a
 * half. */
#pragma once

#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS   5000u

struct backoff {
	unsigned base_ms; /* of the next wait; 0: BACKOFF_FIRST_MS */
	unsigned max_ms;  /* 0: BACKOFF_MAX_MS */
};

unsigned backoff_next_ms(struct backoff *b);
static inline void backoff_reset(struct backoff *b)
{
	b->base_ms = 0;
}
