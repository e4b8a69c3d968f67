#include "imgurl/list.h"

bool imgurl_list_next(struct imgurl_list *rest, struct sv *entry)
{
	uint16_t n;

	if (rest->n < sizeof(n))
		return false;
	memcpy(&n, rest->p, sizeof(n));
	if (n > rest->n - sizeof(n))
		return false;
	*entry = sv_from(rest->p + sizeof(n), n);
	rest->p += sizeof(n) + n;
	rest->n -= sizeof(n) + n;
	return true;
}

bool imgurl_list_has(struct imgurl_list list, struct sv text)
{
	struct sv entry;

	while (imgurl_list_next(&list, &entry))
		if (sv_eq(entry, text))
			return true;
	return false;
}
