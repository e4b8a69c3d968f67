/* ROOM: imgurl */
/*
 * Image paths. The first byte says for whom and how the rest is given: as it is, behind /img/unsafe/, or signed as a
 * client would have signed it. Whatever is accepted is held against an imgproxy that was written apart
 * (tests/unit/imgurl/oracle.h): it names exactly one file of the tenant's folder, or one URL below an allowed prefix.
 */
#include "../unit/imgurl/oracle.h"

#include "base/check.h"
#include "imgurl/normalise.h"
#include "imgurl/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Prefixes and presets of a tenant as a record has them; the lengths are this machine's. */
struct lists {
	uint8_t bytes[256];
	size_t n;
};

static struct imgurl_list list_of(struct lists *l, const char *const *texts)
{
	for (l->n = 0; *texts != NULL; texts++) {
		uint16_t n = (uint16_t)strlen(*texts);
		memcpy(l->bytes + l->n, &n, sizeof(n));
		memcpy(l->bytes + l->n + sizeof(n), *texts, n);
		l->n += sizeof(n) + n;
	}
	return (struct imgurl_list){ l->bytes, l->n };
}

static const char *const none[] = { NULL };
static const char *const some[] = { "https://cdn.example.com/a/", "http://[::1]/", "s3://bucket/a/", "https://h/x.jpg",
	                            NULL };
static const char *const all[] = { "https://h/", "http://h/", "gs://b/", NULL };
static const char *const presets[] = { "thumb", "x", NULL };

static const struct tenant {
	uint64_t user_id;
	const char *const *prefixes;
	uint32_t max_dimension;
	bool require_expires;
} tenants[] = { { 7, none, 4096, false },
	        { 7, some, 4096, false },
	        { UINT64_MAX, all, UINT32_MAX, false },
	        { 1, some, 10, true } };

static enum imgurl_result rewrite(unsigned how, const struct imgurl_tenant *tenant, struct sv data,
                                  struct imgurl_out *out)
{
	static struct imgurl_key upstream;
	static struct imgurl_key signing;
	static char path[IMGURL_PATH_MAX + 128];
	static char normal_buf[IMGURL_NORMALISED_MAX];
	const char unsafe[] = "/img/unsafe/";
	const char head[] = "/signed/5/";
	size_t n = sizeof(head) - 1;

	CHECK(imgurl_key_hex(&upstream, "736563726574", "68656c6c6f") == ERR_OK);
	CHECK(imgurl_key_hex(&signing, "aa", "bb") == ERR_OK);
	if (how == 0 || data.n > IMGURL_PATH_MAX - 1)
		return imgurl_rewrite(&upstream, NULL, data, tenant, 1800000000, out);
	if (how == 1) {
		memcpy(path, unsafe, sizeof(unsafe) - 1);
		memcpy(path + sizeof(unsafe) - 1, data.p, data.n);
		return imgurl_rewrite(&upstream, NULL, sv_from(path, sizeof(unsafe) - 1 + data.n), tenant, 1800000000,
		                      out);
	}
	memcpy(path, head, n);
	n += IMGURL_SIGNATURE_CHARS;
	path[n++] = '/';
	memcpy(path + n, data.p, data.n);
	struct sv normal = imgurl_normalise(sv_from(path + n, data.n), normal_buf);
	CHECK(normal.n > 0 && normal.p[0] == '/');
	CHECK(imgurl_sign(&signing, normal, path + sizeof(head) - 1) == ERR_OK);
	enum imgurl_result result = imgurl_rewrite(&upstream, &signing, sv_from(path, n + data.n), tenant, 1800000000,
	                                           out);
	/* Too long, or with bytes that no path has, before the signature is looked at. */
	CHECK(result != IMGURL_SIGNATURE);
	/* Another key's is none. */
	static struct imgurl_out other;
	CHECK(imgurl_rewrite(&upstream, &upstream, sv_from(path, n + data.n), tenant, 1800000000, &other) != IMGURL_OK);
	CHECK(other.target.n == 0);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct imgurl_out out;
	static struct oracle oracle = { .key = "secret", .salt = "hello" };
	struct lists sources;
	struct lists names;

	if (size < 1)
		return 0;
	const struct tenant *t = &tenants[data[0] & 3];
	const struct imgurl_tenant tenant = {
		.user_id = t->user_id,
		.bounds = { .max_dimension = t->max_dimension,
		            .max_dpr = 4000,
		            .max_zoom = 4000,
		            .max_blur = 50000,
		            .max_quality = 100,
		            .max_ratio = 24,
		            .require_expires = t->require_expires },
		.sources = list_of(&sources, t->prefixes),
		.presets = list_of(&names, presets),
	};
	enum imgurl_result result = rewrite(data[0] >> 2 & 3, &tenant, sv_from(data + 1, size - 1), &out);
	for (size_t i = 0; i < out.detail.n; i++)
		CHECK(out.detail.p[i] >= 0x20 && out.detail.p[i] < 0x7f);
	if (result != IMGURL_OK) {
		CHECK(out.target.n == 0);
		return 0;
	}
	CHECK(out.detail.n == 0 && out.target.n <= IMGURL_TARGET_MAX);
	oracle.user_id = t->user_id;
	oracle.prefixes = t->prefixes;
	const char *wrong = oracle_judge(&oracle, out.target.p, out.target.n);
	if (wrong != NULL)
		fprintf(stderr, "%s: %.*s\n", wrong, SV_ARG(out.target));
	CHECK(wrong == NULL);
	CHECK(!t->require_expires || memmem(out.target.p, out.target.n, "/exp:", 5) != NULL);
	return 0;
}
