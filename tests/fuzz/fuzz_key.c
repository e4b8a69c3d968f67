/* ROOM: policy */
/* API keys: what is accepted has an id and a body that lie in the text, and says the same when it is parsed again. */
#include <string.h>

#include "base/check.h"
#include "policy/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv text = sv_from(data, size);
	struct key_parts parts;
	struct key_parts again;

	if (key_parse(text, &parts) != ERR_OK)
		return 0;
	CHECK(parts.id > 0 && text.n < KEY_TEXT_MAX);
	CHECK(parts.body.p == text.p && parts.body.n + KEY_CHECK_CHARS + 1 == text.n);
	CHECK(memchr(text.p, '\0', text.n) == NULL);
	CHECK(key_parse(text, &again) == ERR_OK && again.id == parts.id);
	return 0;
}
