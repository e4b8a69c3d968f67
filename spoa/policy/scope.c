#include "policy/scope.h"

#include <stdio.h>

static const struct {
	const char *name;
	uint32_t bit;
} names[] = {
	{ "read", SCOPE_READ },
	{ "upload", SCOPE_UPLOAD },
	{ "admin", SCOPE_ADMIN },
};

static uint32_t scope_bit(struct sv name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (sv_eq(name, sv_str(names[i].name)))
			return names[i].bit;
	return 0;
}

enum err scopes_parse(struct sv list, uint32_t *out)
{
	uint32_t set = 0;
	struct sv name;

	if (list.n == 0)
		return ERR_INVALID;
	while (sv_split(&list, ',', &name)) {
		uint32_t bit = scope_bit(sv_trim(name));
		if (bit == 0 || (set & bit) != 0)
			return ERR_INVALID;
		set |= bit;
	}
	*out = set;
	return ERR_OK;
}

const char *scopes_format(uint32_t scopes, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if ((scopes & names[i].bit) == 0)
			continue;
		int n = snprintf(buf + len, size - len, "%s%s", len > 0 ? "," : "", names[i].name);
		if (n > 0 && (size_t)n < size - len)
			len += (size_t)n;
	}
	return buf;
}
