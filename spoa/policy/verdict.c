#include "policy/verdict.h"

#define VERDICT(code, name, status, detail) { name, status, detail },
static const struct {
	const char *name;
	int status;
	const char *detail;
} codes[] = {
#include "policy/verdict.def"
};
#undef VERDICT

const char *verdict_name(enum verdict_code code)
{
	return codes[code].name;
}

int verdict_status(enum verdict_code code)
{
	return codes[code].status;
}

const char *verdict_detail(enum verdict_code code)
{
	return codes[code].detail;
}
