#include "policy/period.h"

#define DAY_S 86400
/* 2020-01-01 in days since 1970-01-01. */
#define ID_EPOCH 18262

struct month {
	int64_t year;
	unsigned month; /* 1 to 12 */
};

/* Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", days_from_civil). */
static int64_t days_of(struct month m, unsigned day)
{
	int64_t y = m.month <= 2 ? m.year - 1 : m.year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * ((int64_t)m.month + (m.month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/* The month that a day lies in (the same source, civil_from_days). */
static struct month month_of(int64_t days)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (unsigned)((5 * doy + 2) / 153);
	unsigned month = mp < 10 ? mp + 3 : mp - 9;

	return (struct month){ .year = yoe + era * 400 + (month <= 2), .month = month };
}

static struct month after(struct month m)
{
	return m.month == 12 ? (struct month){ m.year + 1, 1 } : (struct month){ m.year, m.month + 1 };
}

static struct month before(struct month m)
{
	return m.month == 1 ? (struct month){ m.year - 1, 12 } : (struct month){ m.year, m.month - 1 };
}

/* The day on which the user's month starts that starts within m. */
static int64_t start_in(struct month m, unsigned reset_day)
{
	int64_t first = days_of(m, 1);
	int64_t length = days_of(after(m), 1) - first;

	return first + ((int64_t)reset_day <= length ? (int64_t)reset_day : length) - 1;
}

void period_at(int64_t now, unsigned reset_day, struct period *out)
{
	int64_t today = now >= 0 ? now / DAY_S : (now - DAY_S + 1) / DAY_S;
	struct month m = month_of(today);

	if (reset_day == 0)
		reset_day = 1;
	if (today < start_in(m, reset_day))
		m = before(m);
	int64_t start = start_in(m, reset_day);
	out->start = start * DAY_S;
	out->end = start_in(after(m), reset_day) * DAY_S;
	out->id = (uint32_t)(start - ID_EPOCH) & ((1u << PERIOD_ID_BITS) - 1);
}

int64_t period_start_of(uint32_t id)
{
	return ((int64_t)id + ID_EPOCH) * DAY_S;
}
