/*
 * From a client's image path to the request target for imgproxy.
 *
 *     /img/unsafe/ options source                    for a client that has shown an API key
 *     /signed/ key id / signature / options source   signed with the key's own signing key and salt
 *
 *     options = *(name 1*(":" argument) "/")
 *     source  = "plain/" percent-encoded URL ["@" format]  /  base64url of the URL, in chunks ["." format]
 *
 * This is the grammar of imgproxy 4.0: the path is first put back to what a client signed before a browser or a proxy
 * normalised it (imgurl/normalise.h), and the first segment without a colon starts the source.
 *
 * Nothing of the client's own text goes upstream. The target is made anew: each option under its short name with
 * arguments checked and in one canonical form (options.def), the source as base64url of its one canonical URL, all of
 * it signed with imgproxy's own key. It holds bytes 0x21 to 0x7e only. The source is
 *
 *     local:///<path>      in exactly this spelling: a file of the account's own folder. Segments of 1 to 255 bytes,
 * none beginning with a dot (so neither ".." nor an upload that is not finished), of printable UTF-8 without `\ ? # %`.
 * It becomes local:///<user id>/<path>. a remote URL         canonical as imgurl/source.h has it, and below one of the
 * prefixes that the user was allowed
 *
 * and nothing else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "imgurl/list.h"
#include "imgurl/sign.h"

/* Of a client's path; HAProxy refuses longer ones, too. */
#define IMGURL_PATH_MAX 4096
/*
 * Of a target; a path that gives a longer one is refused. Base64 adds a third to a plain source, `fn:x` becomes
 * `fn:eA:1`, and there are the signature and the user's id: only a path of thousands of bytes that are to be
 * percent-encoded grows to more than this.
 */
#define IMGURL_TARGET_MAX 8192
#define IMGURL_DETAIL_MAX 256
/* More than a path grows by when it is normalised (imgurl/normalise.h). */
#define IMGURL_NORMALISED_MAX (IMGURL_PATH_MAX + 4)

/* What one request may cost. */
struct imgurl_bounds {
	/*
	 * Pixels of the result's sides: width, height, min-width and min-height, each times zoom and dpr, and the
	 * padding with it; also of crop and pixelate. A side that the source decides (no width or height, or one alone)
	 * is imgproxy's to bound: IMGPROXY_MAX_RESULT_DIMENSION. What imgproxy makes of a source on the way to the
	 * result has at most six times as many pixels as the largest result, or 50 million if that is more
	 * (imgurl/options_bounds.c).
	 */
	uint32_t max_dimension;
	uint32_t max_ratio; /* how many times one side of a source may be as long as the other */
	bool vectors;       /* sources may be SVG, which imgproxy always enlarges */
	uint32_t max_dpr;   /* thousandths, like the next two */
	uint32_t max_zoom;
	uint32_t max_blur;     /* sigma, of sharpen too */
	uint32_t max_quality;  /* 1 to 100 */
	bool require_expires;  /* there must be an `exp` that is not 0 */
	uint32_t max_lifetime; /* and that is at most so many seconds from now; 0: or later */
};

struct imgurl_tenant {
	uint64_t user_id;
	struct imgurl_bounds bounds;
	struct imgurl_list sources; /* canonical prefixes of remote sources */
	struct imgurl_list presets; /* names of presets that the user may use */
};

enum imgurl_result {
	IMGURL_OK = 0,
	IMGURL_INVALID,   /* no path of an image, or an option has arguments that are none */
	IMGURL_SIGNATURE, /* the signature is not that of the path */
	IMGURL_SOURCE,    /* the source is not one of the tenant's */
	IMGURL_OPTION,    /* an option is not allowed, or goes beyond a bound, or `exp` is missing */
	IMGURL_EXPIRED,   /* `exp` has passed */
	IMGURL_INTERNAL,  /* the crypto library refused */
};

struct imgurl_out {
	struct sv target; /* a view of target_buf; empty unless the result is IMGURL_OK */
	struct sv detail; /* of a refusal: a sentence for the client, which names the option; or empty */
	char target_buf[IMGURL_TARGET_MAX];
	char detail_buf[IMGURL_DETAIL_MAX];
};

/* A path that was put back to what was signed. */
struct imgurl_opened {
	struct sv path; /* from the slash behind the signature on: a view of the client's, or of buf */
	char buf[IMGURL_NORMALISED_MAX];
};

/*
 * The two steps, between which the caller finds the tenant. `path` is the client's, not decoded and without the query,
 * and must outlive *out. signing NULL: a path of /img/unsafe/. Else one of /signed/, whose signature is verified before
 * anything else is looked at; the caller has found the key by imgurl_signed_key_id(). IMGURL_OK, _INVALID, _SIGNATURE
 * or _INTERNAL.
 */
enum imgurl_result imgurl_open(const struct imgurl_key *signing, struct sv path, struct imgurl_opened *out);
/* `now` is in seconds since 1970 UTC. Does no I/O and allocates nothing, like the first one. */
enum imgurl_result imgurl_make(const struct imgurl_key *upstream, const struct imgurl_opened *opened,
                               const struct imgurl_tenant *tenant, int64_t now, struct imgurl_out *out);

/* Both at once. */
enum imgurl_result imgurl_rewrite(const struct imgurl_key *upstream, const struct imgurl_key *signing, struct sv path,
                                  const struct imgurl_tenant *tenant, int64_t now, struct imgurl_out *out);

/* The id in "/signed/<id>/…", a plain decimal number that is not 0. ERR_INVALID: it is no such path. */
MUST_CHECK enum err imgurl_signed_key_id(struct sv path, uint64_t *id);
