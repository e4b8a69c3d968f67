/*
 * What an image URL costs: a signed path is verified, parsed, rewritten and signed anew, as the verdict does it,
 * without anything around it.
 *
 *     imgurl-bench [ROUNDS]      prints a JSON object: nanoseconds for one URL, the median of so many rounds (default
 * 15)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "imgurl/rewrite.h"

#define URLS       256
#define A_ROUND    10000
#define ROUNDS_MAX 1000
#define PATH_SIZE  256

struct urls {
	char path[URLS][PATH_SIZE];
	struct sv view[URLS];
};

static struct imgurl_key upstream;
static struct imgurl_key signing;
static const struct imgurl_tenant tenant = {
	.user_id = 50000,
	.bounds = { .max_dimension = 4096,
	            .max_ratio = 24,
	            .max_dpr = 4000,
	            .max_zoom = 4000,
	            .max_blur = 50000,
	            .max_quality = 100 },
};

static void write_base64(char *out, size_t size, const char *text)
{
	struct wcur w;

	wcur_init(&w, out, size - 1);
	wcur_base64url(&w, text, strlen(text));
	CHECK(w.err == ERR_OK);
	out[wcur_len(&w)] = '\0';
}

/* Paths of client libraries: each has another file and another size, so that no branch learns them by heart. */
static void make_urls(struct urls *u, bool is_signed, bool is_plain)
{
	for (unsigned i = 0; i < URLS; i++) {
		char name[64];
		char source[128];
		char rest[PATH_SIZE];
		char signature[IMGURL_SIGNATURE_CHARS];

		snprintf(name, sizeof(name), "local:///%08x%08x%08x.jpg", i * 2654435761u, i * 40503u, i);
		write_base64(source, sizeof(source), name);
		if (is_plain)
			snprintf(rest, sizeof(rest), "/rs:fill:%u:%u/plain/%s@webp", 200 + i, 300 + i, name);
		else
			snprintf(rest, sizeof(rest), "/rs:fill:%u:%u/g:sm/%s", 200 + i, 300 + i, source);
		CHECK(imgurl_sign(&signing, sv_str(rest), signature) == ERR_OK);
		if (is_signed)
			snprintf(u->path[i], PATH_SIZE, "/signed/77/%.*s%s", IMGURL_SIGNATURE_CHARS, signature, rest);
		else
			snprintf(u->path[i], PATH_SIZE, "/img/unsafe%s", rest);
		u->view[i] = sv_str(u->path[i]);
	}
}

static double round_ns(const struct urls *u, const struct imgurl_key *key)
{
	static struct imgurl_out out;
	uint64_t start = clock_mono_ns();

	for (unsigned i = 0; i < A_ROUND; i++)
		CHECK(imgurl_rewrite(&upstream, key, u->view[i % URLS], &tenant, 1, &out) == IMGURL_OK);
	return (double)(clock_mono_ns() - start) / A_ROUND;
}

static double hmac_ns(const struct urls *u)
{
	char signature[IMGURL_SIGNATURE_CHARS];
	uint64_t start = clock_mono_ns();

	for (unsigned i = 0; i < A_ROUND; i++)
		CHECK(imgurl_sign(&upstream, sv_skip(u->view[i % URLS], 54), signature) == ERR_OK);
	return (double)(clock_mono_ns() - start) / A_ROUND;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *name, double *ns, long n)
{
	qsort(ns, (size_t)n, sizeof(*ns), compare);
	printf("\"%s\": {\"best\": %.0f, \"median\": %.0f}, ", name, ns[0], ns[n / 2]);
}

int main(int argc, char **argv)
{
	static struct urls urls[3];
	static double ns[4][ROUNDS_MAX];
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 101;

	if (argc > 2 || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: imgurl-bench [ROUNDS]   (1 to %d)\n", ROUNDS_MAX);
		return 2;
	}
	CHECK(imgurl_key_init(&upstream, "a key of imgproxy's, 32 bytes...", 32, "and its salt, as long as that...",
	                      32) == ERR_OK);
	CHECK(imgurl_key_init(&signing, "a key of the client, 32 bytes...", 32, "and its salt, as long as that...",
	                      32) == ERR_OK);
	make_urls(&urls[0], true, false);
	make_urls(&urls[1], false, false);
	make_urls(&urls[2], true, true);
	for (long i = 0; i < rounds; i++) {
		ns[0][i] = round_ns(&urls[0], &signing);
		ns[1][i] = round_ns(&urls[1], NULL);
		ns[2][i] = round_ns(&urls[2], &signing);
		ns[3][i] = hmac_ns(&urls[0]);
	}
	printf("{");
	print("verify and sign", ns[0], rounds);
	print("sign", ns[1], rounds);
	print("verify and sign, plain", ns[2], rounds);
	print("signature", ns[3], rounds);
	printf("\"rounds\": %ld}\n", rounds);
	return 0;
}
