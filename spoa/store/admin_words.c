#include "store/admin_words.h"

#include <stddef.h>
#include <string.h>

#include "base/sv.h"
#include "policy/record.h"

#define SECONDS_MAX (UINT64_C(36500) * 86400)

enum err admin_duration(const char *text, uint64_t *seconds)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	size_t n = strlen(text);
	uint64_t number = 0;

	for (size_t i = 0; n > 1 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (text[n - 1] != units[i].unit)
			continue;
		enum err err = sv_to_u64(sv_from(text, n - 1), &number);
		if (err != ERR_OK)
			return err;
		if (number == 0 || number > SECONDS_MAX / units[i].seconds)
			return ERR_RANGE;
		*seconds = number * units[i].seconds;
		return ERR_OK;
	}
	return ERR_INVALID;
}

enum err admin_grace(const char *text, uint64_t *seconds)
{
	*seconds = 0;
	if (text == NULL || strcmp(text, "0s") == 0)
		return ERR_OK;
	return admin_duration(text, seconds);
}

enum err admin_month(const char *text)
{
	static const char digits[] = "0123456789";
	size_t year = strspn(text, digits);

	if (strlen(text) != 7 || year != 4 || text[0] == '0' || text[4] != '-' || strspn(text + 5, digits) != 2)
		return ERR_INVALID;
	int month = (text[5] - '0') * 10 + (text[6] - '0');
	return month >= 1 && month <= 12 ? ERR_OK : ERR_INVALID;
}

bool admin_is_preset(struct sv name)
{
	if (name.n < 1 || name.n > POLICY_PRESET_MAX || sv_eq(name, SV("none")))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!sv_alnum(name.p[i]) && memchr("._-", name.p[i], 3) == NULL)
			return false;
	return true;
}

enum err admin_presets(const char *text)
{
	struct sv names[POLICY_PRESETS_MAX], rest = sv_str(text);
	size_t count = 0;

	while (count < POLICY_PRESETS_MAX && sv_split(&rest, ',', &names[count])) {
		if (!admin_is_preset(names[count]))
			return ERR_INVALID;
		for (size_t i = 0; i < count; i++)
			if (sv_eq(names[i], names[count]))
				return ERR_INVALID;
		count++;
	}
	return rest.p == NULL ? ERR_OK : ERR_INVALID;
}
