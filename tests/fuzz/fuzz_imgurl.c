/* ROOM: imgurl */
/*
 * Image paths. Whatever is accepted names exactly one file of the tenant's own folder: the target has the form
 * /<signature>/<options>/<base64>[.format], and the base64 part is local:///7/<name> with a name that leads nowhere
 * else.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "imgurl/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int base64_value(char c)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *hit = c != '\0' ? strchr(alphabet, c) : NULL;
	return hit != NULL ? (int)(hit - alphabet) : -1;
}

static size_t base64_decode(struct sv text, char *out)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		int v = base64_value(text.p[i]);
		CHECK(v >= 0);
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (char)(bits >> have & 0xff);
		}
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct imgurl_signer *signer;
	static char buf[IMGURL_TARGET_MAX];
	static char source[IMGURL_TARGET_MAX];
	struct sv path = sv_from(data, size);
	struct sv target;

	if (signer == NULL)
		CHECK(imgurl_signer_new("736563726574", "68656c6c6f", &signer) == ERR_OK);
	if (imgurl_target(signer, path, 7, buf, sizeof(buf), &target) != ERR_OK)
		return 0;
	CHECK(target.n > 45 && target.p[0] == '/' && target.p[44] == '/');
	for (size_t i = 0; i < target.n; i++)
		CHECK(target.p[i] > 0x20 && target.p[i] < 0x7f && target.p[i] != '?' && target.p[i] != '#' &&
		      target.p[i] != '%' && target.p[i] != '\\');
	/* The last segment. */
	const char *last = target.p + target.n;
	while (last[-1] != '/')
		last--;
	struct sv rest = sv_from(last, (size_t)(target.p + target.n - last));
	struct sv encoded;
	CHECK(sv_split(&rest, '.', &encoded));
	struct sv file = sv_from(source, base64_decode(encoded, source));
	struct sv prefix = SV("local:///7/");
	CHECK(sv_starts(file, prefix));
	struct sv name = sv_skip(file, prefix.n);
	CHECK(name.n > 0 && name.p[0] != '.' && memchr(name.p, '/', name.n) == NULL &&
	      memchr(name.p, '\0', name.n) == NULL);
	return 0;
}
