#include "cli/source_prefix.h"

#include <string.h>

#include "base/sv.h"
#include "imgurl/source.h"

enum err source_prefix(const char *text, char buf[SOURCE_PREFIX_MAX], const char **why)
{
	char room[IMGURL_SOURCE_MAX];
	struct sv canonical;

	if (imgurl_source_canonical(sv_str(text), room, sizeof(room), &canonical, why) != ERR_OK)
		return ERR_INVALID;
	if (sv_copy(canonical, buf, SOURCE_PREFIX_MAX) != ERR_OK) {
		*why = "it is too long";
		return ERR_INVALID;
	}
	return ERR_OK;
}
