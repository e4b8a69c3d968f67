/* ROOM: usage */
/* Texts of records: what is accepted is what is written again, in the room that is promised for it. */
#include <string.h>

#include "base/check.h"
#include "usage/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[USAGE_TEXT_MAX];
	struct usage_record r;
	size_t n;

	if (usage_record_parse(sv_from(data, size), &r) != ERR_OK)
		return 0;
	CHECK(r.user > 0 && r.id.n > 0 && r.code.n > 0 && r.path.n <= USAGE_PATH_MAX);
	CHECK(usage_record_format(&r, buf, sizeof(buf), &n) == ERR_OK);
	CHECK(n == size && memcmp(buf, data, size) == 0);
	CHECK(usage_record_format(&r, buf, size - 1, &n) == ERR_SPACE);
	return 0;
}
