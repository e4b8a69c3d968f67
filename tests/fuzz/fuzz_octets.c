/* ROOM: usage */
/* Octet counting: what is taken lies in the bytes, and is no longer than it may be. */
#include "base/check.h"
#include "usage/octets.h"

#define LONGEST 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv rest = sv_from(data, size);
	struct sv message;
	size_t used;
	enum err err;

	while ((err = octets_take(rest, LONGEST, &message, &used)) == ERR_OK) {
		CHECK(message.n > 0 && message.n <= LONGEST && used > message.n && used <= rest.n);
		CHECK(message.p + message.n == rest.p + used);
		rest = sv_skip(rest, used);
	}
	CHECK(err == ERR_INCOMPLETE || err == ERR_INVALID);
	return 0;
}
