/* The month of a quota: the calendar's, or one that starts on a day of the user's own. All in UTC. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PERIOD_ID_BITS 14

struct period {
	int64_t start; /* seconds since 1970 UTC; 0:00 of the first day */
	int64_t end;   /* the next one's start */
	uint32_t id;   /* days from 2020-01-01 to the start, modulo 2^PERIOD_ID_BITS: distinct within 44 years */
};

/*
 * The month that holds `now` (seconds since 1970 UTC) for a reset day of 1 to 31; 0 is 1. In a month that does not have
 * the day, the month starts on its last one: 31 means Jan 31, Feb 28, Mar 31.
 */
void period_at(int64_t now, unsigned reset_day, struct period *out);

/* The first second of the month with that id, for months from 2020 to 2064. */
int64_t period_start_of(uint32_t id);

/* Whether the month with id a is later than that with id b, for two within 22 years. */
static inline bool period_later(uint32_t a, uint32_t b)
{
	uint32_t distance = (a - b) & ((1u << PERIOD_ID_BITS) - 1);
	return distance != 0 && distance < 1u << (PERIOD_ID_BITS - 1);
}
