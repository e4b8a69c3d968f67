/*
 * Typed values of SPOP ("TYPED-DATA" of doc/SPOE.txt): one byte with the type in its low and flags in its high nibble,
 * then the data. Booleans live in the first flag and have no data, numbers are varints (negative ones as two's
 * complement of 64 bits), addresses 4 or 16 bytes, strings and binaries a varint length and the bytes.
 *
 * HAProxy sends a failed or absent sample as NULL, whatever the argument is, and `src` as IPV4 or IPV6.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"

/* The numbers are those of the wire; 10 to 15 are reserved. */
enum spop_type {
	SPOP_TYPE_NULL = 0,
	SPOP_TYPE_BOOL = 1,
	SPOP_TYPE_INT32 = 2,
	SPOP_TYPE_UINT32 = 3,
	SPOP_TYPE_INT64 = 4,
	SPOP_TYPE_UINT64 = 5,
	SPOP_TYPE_IPV4 = 6,
	SPOP_TYPE_IPV6 = 7,
	SPOP_TYPE_STRING = 8,
	SPOP_TYPE_BINARY = 9,
	SPOP_TYPE_COUNT
};

struct spop_value {
	enum spop_type type;
	/* The high nibble of the type byte, 0 to 15, without a BOOL's own bit; kept so that a value re-encodes to the
	 * same bytes. */
	uint8_t flags;
	union {
		bool boolean;   /* BOOL */
		int64_t i64;    /* INT32, INT64 */
		uint64_t u64;   /* UINT32, UINT64 */
		struct sv view; /* IPV4 (4 bytes), IPV6 (16 bytes), STRING, BINARY; into the frame */
	};
};

/*
 * Reads one value; NULL type after a failure, which stays in the cursor: ERR_INCOMPLETE (the bytes end), ERR_RANGE (a
 * number that its type cannot hold), ERR_INVALID (a reserved type).
 */
struct spop_value spop_value_read(struct rcur *c);

/*
 * Writes one value. ERR_RANGE in the cursor when a 32-bit number or an address does not fit its type, or for flags
 * above 15; ERR_INVALID for a type out of the table.
 * HAProxy takes a STRING with any flag for a BINARY: leave flags 0.
 */
void spop_value_write(struct wcur *c, const struct spop_value *v);

/* Any of the four integer types as an int64_t. False, and nothing set, for other types and for too large a UINT64. */
bool spop_value_int(const struct spop_value *v, int64_t *out);

/* The bytes of a STRING or BINARY; {NULL, 0} for other types. An empty string has a length of 0 as well: HAProxy sends
 * NULL or an empty string for the same thing, by version. */
struct sv spop_value_text(const struct spop_value *v);

/* Same type, flags and content. */
bool spop_value_eq(const struct spop_value *a, const struct spop_value *b);

/* "null", "bool", "int32" ...; "reserved" out of the table. */
const char *spop_type_str(unsigned type);

static inline struct spop_value spop_null(void)
{
	return (struct spop_value){ .type = SPOP_TYPE_NULL };
}

static inline struct spop_value spop_bool(bool b)
{
	return (struct spop_value){ .type = SPOP_TYPE_BOOL, .boolean = b };
}

static inline struct spop_value spop_int32(int32_t i)
{
	return (struct spop_value){ .type = SPOP_TYPE_INT32, .i64 = i };
}

static inline struct spop_value spop_uint32(uint32_t u)
{
	return (struct spop_value){ .type = SPOP_TYPE_UINT32, .u64 = u };
}

static inline struct spop_value spop_int64(int64_t i)
{
	return (struct spop_value){ .type = SPOP_TYPE_INT64, .i64 = i };
}

static inline struct spop_value spop_uint64(uint64_t u)
{
	return (struct spop_value){ .type = SPOP_TYPE_UINT64, .u64 = u };
}

/* The four bytes live as long as the caller keeps them. */
static inline struct spop_value spop_ipv4(const uint8_t bytes[4])
{
	return (struct spop_value){ .type = SPOP_TYPE_IPV4, .view = { (const char *)bytes, 4 } };
}

static inline struct spop_value spop_ipv6(const uint8_t bytes[16])
{
	return (struct spop_value){ .type = SPOP_TYPE_IPV6, .view = { (const char *)bytes, 16 } };
}

static inline struct spop_value spop_string(struct sv s)
{
	return (struct spop_value){ .type = SPOP_TYPE_STRING, .view = s };
}

static inline struct spop_value spop_binary(struct sv s)
{
	return (struct spop_value){ .type = SPOP_TYPE_BINARY, .view = s };
}
