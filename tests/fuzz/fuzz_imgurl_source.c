/* ROOM: imgurl */
/*
 * The canonical form of remote URLs: what is canonical stays as it is, has bytes that a URL may have, and lies below
 * its own host alone. The size of the buffer, from the first byte, changes nothing but whether it fits.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "imgurl/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_web(struct sv url)
{
	for (size_t i = 0; i < url.n; i++)
		CHECK(url.p[i] > 0x20 && url.p[i] < 0x7f && url.p[i] != '\\' && url.p[i] != '#');
	/* scheme://host/path, the host of a few bytes. */
	const char *host = (const char *)memmem(url.p, url.n, "://", 3) + 3;
	const char *slash = memchr(host, '/', (size_t)(url.p + url.n - host));
	CHECK(slash != NULL && slash > host);
	for (const char *p = host; p < slash; p++)
		CHECK((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || memchr("-.[]:", *p, 5) != NULL);
	const char *query = memchr(url.p, '?', url.n);
	const char *end = query != NULL ? query : url.p + url.n;
	for (const char *p = slash; p < end; p++) {
		size_t left = (size_t)(end - p);
		CHECK(!(left >= 3 && memcmp(p, "/..", 3) == 0 && (left == 3 || p[3] == '/' || p[3] == ';')));
		CHECK(!(left >= 2 && memcmp(p, "/.", 2) == 0 && (left == 2 || p[2] == '/' || p[2] == ';')));
		CHECK(!(left >= 3 &&
		        (memcmp(p, "%2F", 3) == 0 || memcmp(p, "%5C", 3) == 0 || memcmp(p, "%2E", 3) == 0)));
		CHECK(!(left >= 5 && memcmp(p, "%252", 4) == 0));
	}
	/* Its own site is above it, and no longer host. */
	char site[IMGURL_SOURCE_MAX];
	size_t n = (size_t)(slash + 1 - url.p);
	memcpy(site, url.p, n);
	CHECK(imgurl_source_below(url, sv_from(site, n)));
	CHECK(imgurl_source_below(url, url));
	site[n - 2] = site[n - 2] == 'a' ? 'b' : 'a';
	CHECK(!imgurl_source_below(url, sv_from(site, n)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char first[IMGURL_SOURCE_MAX];
	static char second[IMGURL_SOURCE_MAX];
	const char *why = NULL;
	struct sv once;
	struct sv twice;
	struct sv small;

	if (size < 1)
		return 0;
	struct sv url = sv_from(data + 1, size - 1);
	if (imgurl_source_canonical(url, first, sizeof(first), &once, &why) != ERR_OK) {
		CHECK(why != NULL && strlen(why) > 0);
		return 0;
	}
	CHECK(once.n <= IMGURL_SOURCE_MAX);
	CHECK(imgurl_source_canonical(once, second, sizeof(second), &twice, &why) == ERR_OK);
	CHECK(sv_eq(once, twice));
	if (sv_starts(once, SV("http")))
		check_web(once);
	/* A block of exactly so many bytes, so that a sanitizer sees a write past it. */
	size_t room = data[0];
	char *block = malloc(room + 1);
	CHECK(block != NULL);
	enum err err = imgurl_source_canonical(url, block, room, &small, &why);
	/* What is taken away again needs room before that. */
	CHECK(err == ERR_SPACE || (err == ERR_OK && sv_eq(small, once)));
	CHECK(err == ERR_OK || room < 3 * url.n + 16);
	free(block);
	return 0;
}
