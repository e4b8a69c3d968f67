#include "imgurl/rewrite.h"

#include "base/cursor.h"
#include "imgurl/args.h"
#include "imgurl/normalise.h"
#include "imgurl/options.h"
#include "imgurl/source.h"
#include "imgurl/source_int.h"
#include "imgurl/text.h"

/* Room before a decoded source for "local:///" and a user's id, which stand before the path of a local one. */
#define LOCAL_ROOM 32
#define LOCAL      "local:///"
/* More than the longest format. */
#define FORMAT_MAX 8

enum err imgurl_signed_key_id(struct sv path, uint64_t *id)
{
	struct sv prefix = SV("/signed/");
	struct sv rest = sv_skip(path, prefix.n);
	struct sv text;

	if (!sv_starts(path, prefix) || !sv_split(&rest, '/', &text) || rest.p == NULL)
		return ERR_INVALID;
	return sv_to_u64(text, id) == ERR_OK && *id != 0 ? ERR_OK : ERR_INVALID;
}

/* Bytes 0x21 to 0x7e alone, eight at a time: a byte below borrows from its top bit, 0x7f carries into it. */
static bool is_printable(struct sv path)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t odd = 0;
	uint64_t word;
	size_t i = 0;

	for (; path.n - i >= sizeof(word); i += sizeof(word)) {
		memcpy(&word, path.p + i, sizeof(word));
		odd |= (word - ones * 0x21) | (word + ones) | word;
	}
	for (; i < path.n; i++)
		odd |= (unsigned char)(path.p[i] - 0x21) > 0x7e - 0x21 ? 0x80 : 0;
	return (odd & ones << 7) == 0;
}

static enum imgurl_result refuse_source(struct imgurl_out *out, const char *why)
{
	struct wcur w;

	wcur_init(&w, out->detail_buf, sizeof(out->detail_buf));
	wcur_sv(&w, SV("The source is not allowed: "));
	wcur_sv(&w, sv_str(why));
	wcur_u8(&w, '.');
	if (w.err == ERR_OK)
		out->detail = sv_from(out->detail_buf, wcur_len(&w));
	return IMGURL_SOURCE;
}

/* ---- the path, normalised and verified ---- */

enum imgurl_result imgurl_open(const struct imgurl_key *signing, struct sv path, struct imgurl_opened *out)
{
	struct sv unsafe = SV("/img/unsafe/");
	struct sv key;
	struct sv signature;
	uint64_t id;

	if (path.n > IMGURL_PATH_MAX || !is_printable(path))
		return IMGURL_INVALID;
	if (signing == NULL) {
		if (!sv_starts(path, unsafe))
			return IMGURL_INVALID;
		out->path = imgurl_normalise(sv_skip(path, unsafe.n), out->buf);
		/* The slash too many that imgproxy forgives behind a signature has no reason here. */
		return sv_starts(sv_skip(path, unsafe.n), SV("/")) ? IMGURL_INVALID : IMGURL_OK;
	}
	if (imgurl_signed_key_id(path, &id) != ERR_OK)
		return IMGURL_INVALID;
	/* From here on it is always the signature, until that is right. */
	struct sv rest = sv_skip(path, sizeof("/signed/") - 1);
	if (!sv_split(&rest, '/', &key) || !sv_split(&rest, '/', &signature) || rest.p == NULL)
		return IMGURL_SIGNATURE;
	out->path = imgurl_normalise(rest, out->buf);
	switch (imgurl_verify(signing, signature, out->path)) {
	case ERR_OK:
		return IMGURL_OK;
	case ERR_REFUSED:
		return IMGURL_SIGNATURE;
	default:
		return IMGURL_INTERNAL;
	}
}

/* ---- options ---- */

/* Takes the options off the front of *rest, which is then the source. */
static enum imgurl_result read_options(struct imgurl_options *o, struct sv *rest)
{
	enum imgurl_result result = IMGURL_OK;

	while (result == IMGURL_OK && rest->n > 0) {
		const char *colon = memchr(rest->p, ':', rest->n);
		if (colon == NULL || memchr(rest->p, '/', (size_t)(colon - rest->p)) != NULL)
			break;
		struct sv name = sv_from(rest->p, (size_t)(colon - rest->p));
		*rest = sv_skip(*rest, name.n + 1);
		result = imgurl_options_add(o, name, rest);
	}
	return result == IMGURL_OK ? imgurl_options_end(o) : result;
}

/* ---- the source ---- */

/* Writes the decoded URL; *format is a view of the text, or of `joined` when that was in chunks. */
static bool decode_source(struct sv text, struct wcur *url, char joined[FORMAT_MAX], struct sv *format)
{
	struct sv plain = SV("plain/");
	bool is_plain = sv_starts(text, plain);
	struct sv rest = is_plain ? sv_skip(text, plain.n) : text;
	struct sv encoded;
	size_t n = 0;

	if (!sv_split(&rest, is_plain ? '@' : '.', &encoded))
		return false;
	*format = rest;
	if (is_plain) {
		if (encoded.n == 0 || !imgurl_percent_decode(url, encoded))
			return false;
	} else {
		/* Padding is taken off the whole, wherever chunks end. */
		while (encoded.n > 0 && (encoded.p[encoded.n - 1] == '=' || encoded.p[encoded.n - 1] == '/'))
			encoded.n--;
		if (!imgurl_base64_decode(url, encoded) || wcur_len(url) == 0)
			return false;
		for (size_t i = 0; i < rest.n; i++) {
			if (rest.p[i] == '/')
				continue;
			if (n == FORMAT_MAX)
				return false;
			joined[n++] = rest.p[i];
		}
		*format = sv_from(joined, n);
	}
	return format->n == 0 || imgurl_is_format(*format);
}

static bool has_scheme(struct sv url)
{
	size_t n = 0;

	while (n < url.n && (sv_alnum(url.p[n]) || url.p[n] == '+' || url.p[n] == '-' || url.p[n] == '.'))
		n++;
	return n > 0 && n < url.n && url.p[n] == ':';
}

static bool is_text(struct sv v)
{
	for (size_t i = 0, n; i < v.n; i += n) {
		n = imgurl_printable(sv_skip(v, i));
		if (n == 0)
			return false;
	}
	return true;
}

static enum imgurl_result remote_source(const struct imgurl_tenant *tenant, struct sv url, char buf[IMGURL_SOURCE_MAX],
                                        struct sv *canonical, struct imgurl_out *out)
{
	struct imgurl_list rest = tenant->sources;
	const char *why;
	struct sv prefix;

	/* Base64 that happens to be one, of a word that is no URL. */
	if (!has_scheme(url) && !is_text(url))
		return IMGURL_INVALID;
	if (imgurl_source_canonical(url, buf, IMGURL_SOURCE_MAX, canonical, &why) != ERR_OK)
		return refuse_source(out, why);
	bool is_web = sv_starts(*canonical, SV("http"));
	if (!is_web && canonical->p[canonical->n - 1] == '/')
		return refuse_source(out, "it names a folder of an object store");
	while (imgurl_list_next(&rest, &prefix))
		if (imgurl_source_below(*canonical, prefix))
			return IMGURL_OK;
	return refuse_source(out, "it is below none of the prefixes of this account");
}

/* The canonical URL of `url`, which lies LOCAL_ROOM behind the start of its buffer; a view of that, or of buf. */
static enum imgurl_result confine(const struct imgurl_tenant *tenant, struct sv url, char *room,
                                  char buf[IMGURL_SOURCE_MAX], struct sv *canonical, struct imgurl_out *out)
{
	char prefix[LOCAL_ROOM + sizeof(LOCAL)];
	struct wcur w;

	if (!sv_starts(url, SV(LOCAL)))
		return remote_source(tenant, url, buf, canonical, out);
	struct sv path = sv_skip(url, sizeof(LOCAL) - 1);
	if (!imgurl_path_is_plain(path, false))
		return refuse_source(
		        out, "a local file's path has no empty or hidden segments, no control characters and none of "
		             "\\ ? # %");
	wcur_init(&w, prefix, sizeof(prefix));
	wcur_sv(&w, SV(LOCAL));
	wcur_u64(&w, tenant->user_id);
	wcur_u8(&w, '/');
	/* The path stays where it is, and gets the longer prefix in front. */
	char *start = room + LOCAL_ROOM + sizeof(LOCAL) - 1 - wcur_len(&w);
	memcpy(start, prefix, wcur_len(&w));
	*canonical = sv_from(start, wcur_len(&w) + path.n);
	return IMGURL_OK;
}

/* ---- all of it ---- */

/* Writes "/<options>/<source>" of what follows the signature. */
static enum imgurl_result write_path(struct wcur *w, struct sv rest, const struct imgurl_tenant *tenant, int64_t now,
                                     struct imgurl_out *out)
{
	struct imgurl_options options;
	char decoded[LOCAL_ROOM + IMGURL_NORMALISED_MAX];
	char canonical_buf[IMGURL_SOURCE_MAX];
	char joined[FORMAT_MAX];
	struct sv canonical;
	struct sv format;
	struct sv first;
	struct wcur url;

	imgurl_options_begin(&options, tenant, now, w, out);
	enum imgurl_result result = read_options(&options, &rest);
	if (result != IMGURL_OK)
		return result;
	/* imgproxy Pro has a second pipeline behind "-", and encrypted sources. */
	struct sv source = rest;
	if (sv_split(&rest, '/', &first) && (sv_eq(first, SV("-")) || sv_eq(first, SV("enc"))))
		return imgurl_options_refuse(&options, first);
	wcur_init(&url, decoded + LOCAL_ROOM, sizeof(decoded) - LOCAL_ROOM);
	if (!decode_source(source, &url, joined, &format))
		return IMGURL_INVALID;
	result = confine(tenant, sv_from(decoded + LOCAL_ROOM, wcur_len(&url)), decoded, canonical_buf, &canonical,
	                 out);
	if (result != IMGURL_OK)
		return result;
	wcur_u8(w, '/');
	wcur_base64url(w, canonical.p, canonical.n);
	if (format.n > 0) {
		wcur_u8(w, '.');
		wcur_sv(w, format);
	}
	return w->err == ERR_OK ? IMGURL_OK : IMGURL_INVALID;
}

enum imgurl_result imgurl_make(const struct imgurl_key *upstream, const struct imgurl_opened *opened,
                               const struct imgurl_tenant *tenant, int64_t now, struct imgurl_out *out)
{
	struct wcur w;

	out->target = sv_from(NULL, 0);
	out->detail = sv_from(NULL, 0);
	/* The path first, behind the room for its signature. */
	char *start = out->target_buf + 1 + IMGURL_SIGNATURE_CHARS;
	wcur_init(&w, start, sizeof(out->target_buf) - 1 - IMGURL_SIGNATURE_CHARS);
	enum imgurl_result result = write_path(&w, sv_skip(opened->path, 1), tenant, now, out);
	if (result != IMGURL_OK)
		return result;
	out->target_buf[0] = '/';
	if (imgurl_sign(upstream, sv_from(start, wcur_len(&w)), out->target_buf + 1) != ERR_OK)
		return IMGURL_INTERNAL;
	out->target = sv_from(out->target_buf, 1 + IMGURL_SIGNATURE_CHARS + wcur_len(&w));
	return IMGURL_OK;
}

enum imgurl_result imgurl_rewrite(const struct imgurl_key *upstream, const struct imgurl_key *signing, struct sv path,
                                  const struct imgurl_tenant *tenant, int64_t now, struct imgurl_out *out)
{
	struct imgurl_opened opened;
	enum imgurl_result result = imgurl_open(signing, path, &opened);

	out->target = sv_from(NULL, 0);
	out->detail = sv_from(NULL, 0);
	return result == IMGURL_OK ? imgurl_make(upstream, &opened, tenant, now, out) : result;
}
