#include "base/err.h"

static const char *const texts[] = {
	[-ERR_OK] = "ok",
	[-ERR_INCOMPLETE] = "incomplete",
	[-ERR_INVALID] = "invalid",
	[-ERR_RANGE] = "out of range",
	[-ERR_SPACE] = "too long",
	[-ERR_NOMEM] = "out of memory",
	[-ERR_NOT_FOUND] = "not found",
	[-ERR_EXISTS] = "exists already",
	[-ERR_IO] = "input/output error",
	[-ERR_CLOSED] = "closed",
	[-ERR_TIMEOUT] = "timed out",
	[-ERR_REFUSED] = "refused",
	[-ERR_UNAVAILABLE] = "unavailable",
	[-ERR_VERSION] = "unknown version",
	[-ERR_BAD_STATE] = "not allowed in this state",
	[-ERR_UNSUPPORTED] = "not supported",
	[-ERR_CORRUPT] = "corrupt",
	[-ERR_CRYPTO] = "cryptographic failure",
};

const char *err_str(int err)
{
	if (err > 0 || err < ERR_LAST)
		return "unknown error";
	return texts[-err];
}
