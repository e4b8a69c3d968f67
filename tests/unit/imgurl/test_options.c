/* Options: what is taken and how it is written, what is refused, and the bounds. */
#include "world.h"

static struct imgurl_out out;

static enum imgurl_result rewrite(const char *options, const struct imgurl_tenant *tenant)
{
	char path[IMGURL_PATH_MAX];

	snprintf(path, sizeof(path), "/img/unsafe/%splain/local:///x", options);
	return imgurl_rewrite(documented_key(), NULL, sv_str(path), tenant, NOW, &out);
}

/* The options of the target. */
static struct sv written(void)
{
	struct sv tail = SV("/bG9jYWw6Ly8vNy94"); /* local:///7/x */
	size_t head = 1 + IMGURL_SIGNATURE_CHARS;

	assert_true(out.target.n >= head + tail.n);
	assert_true(sv_eq(sv_skip(out.target, out.target.n - tail.n), tail));
	return sv_from(out.target.p + head, out.target.n - head - tail.n);
}

static void test_canonical(void **state)
{
	(void)state;
	static const struct {
		const char *options;
		const char *written;
	} rows[] = {
		{ "", "" },
		{ "rs:fill:300:400:0/g:sm/", "/rs:fill:300:400:0/g:sm" },
		{ "resize:fill:300:400/", "/rs:fill:300:400" },
		{ "resize:fill:1:2:0:1:ce:0.5/", "/rs:fill:1:2:0:1:ce:0.5" },
		{ "rs:fit/", "/rs:fit" },
		{ "rs::1:2/", "/rs::1:2" },
		{ "rs:fit:300:300::/", "/rs:fit:300:300" },
		{ "rs:fill-down:0300:00:f:t/", "/rs:fill-down:300:0:0:1" },
		{ "size:10:20:1:1:no:1:-2/s::20/", "/s:10:20:1:1:no:1:-2/s::20" },
		{ "width:1/w:2/height:3/h:4/", "/w:1/w:2/h:3/h:4" },
		{ "min-width:1/mw:2/min-height:3/mh:4/", "/mw:1/mw:2/mh:3/mh:4" },
		{ "resizing_type:auto/rt:force/", "/rt:auto/rt:force" },
		{ "zoom:0.5/z:1.50:002/dpr:2.0/dpr:.5/", "/z:0.5/z:1.5:2/dpr:2/dpr:0.5" },
		{ "enlarge:true/el:0/extend:1/ex:f:soea/", "/el:1/el:0/ex:1/ex:0:soea" },
		{ "extend_aspect_ratio:1/extend_ar:t/exar:1:fp:0.5:1/", "/exar:1/exar:1/exar:1:fp:0.5:1" },
		{ "gravity:fp:0.33:0.660/g:nowe:-1.5:20/", "/g:fp:0.33:0.66/g:nowe:-1.5:20" },
		{ "crop:100:0.5:sm/c:1/", "/c:100:0.5:sm/c:1" },
		{ "trim:10:FF00ff:1:0/t:5::t/t:/", "/t:10:ff00ff:1:0/t:5::1/t:" },
		{ "padding:1:2:3:4/pd:10/pd:0:5/", "/pd:1:2:3:4/pd:10/pd:0:5" },
		{ "auto_rotate:0/ar:T/", "/ar:0/ar:1" },
		{ "rotate:90/rot:-90/rot:0/rot:450/rot:-360/", "/rot:90/rot:270/rot:0/rot:90/rot:0" },
		{ "flip:1:0/fl::1/", "/fl:1:0/fl::1" },
		{ "background:ABC/bg:255:0:07/bg:a0b1c2/bg:/", "/bg:abc/bg:255:0:7/bg:a0b1c2/bg:" },
		{ "blur:0.3/bl:5/sharpen:0.7/sh:1/pixelate:5/pix:0/", "/bl:0.3/bl:5/sh:0.7/sh:1/pix:5/pix:0" },
		{ "watermark:0.5:re:10:-10:0.2/wm:1/wm:0:soea/wm:1::::1/",
		  "/wm:0.5:re:10:-10:0.2/wm:1/wm:0:soea/wm:1::::1" },
		{ "strip_metadata:1/sm:0/keep_copyright:1/kcr:0/strip_color_profile:0/scp:1/",
		  "/sm:1/sm:0/kcr:1/kcr:0/scp:0/scp:1" },
		{ "preserve_hdr:1/ph:0/enforce_thumbnail:1/eth:0/return_attachment:1/att:False/",
		  "/ph:1/ph:0/eth:1/eth:0/att:1/att:0" },
		{ "quality:80/q:0/q:100/", "/q:80/q:0/q:100" },
		{ "format_quality:jpg:80:webp:75/fq:avif:30/", "/fq:jpg:80:webp:75/fq:avif:30" },
		{ "max_bytes:100000/mb:0/", "/mb:100000/mb:0" },
		{ "format:webp/f:png/ext:avif/f:best/", "/f:webp/f:png/f:avif/f:best" },
		{ "skip_processing:gif:webp/skp:png/", "/skp:gif:webp/skp:png" },
		{ "cachebuster:v1.2_a-b~c/cb:1/", "/cb:v1.2_a-b~c/cb:1" },
		{ "expires:0/exp:-1/exp:-0/exp:1800000001/", "/exp:0/exp:-1/exp:0/exp:1800000001" },
		{ "filename:cat/fn:Y2F0:1/fn:Y2F0==:true/fn:a%3Ab:0/", NULL }, /* ":" ends an argument */
		{ "filename:cat/fn:Y2F0:1/fn:Y2F0==:true/fn:c+a!t:0/", "/fn:Y2F0:1/fn:Y2F0:1/fn:Y2F0:1/fn:YythIXQ:1" },
		{ "fn:0LrQvtGC:1/", "/fn:0LrQvtGC:1" },
		{ "preset:thumb:x/pr:x/", "/pr:thumb:x/pr:x" },
		/* as browsers and proxies write it */
		{ "rs%3Afit%3A1%3A1/w%3A5/", "/rs:fit:1:1/w:5" },
	};
	struct imgurl_tenant tenant = make_tenant();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum imgurl_result result = rewrite(rows[i].options, &tenant);
		if ((result == IMGURL_OK) != (rows[i].written != NULL))
			fail_msg("%s: %s: %.*s", rows[i].options, result_name(result), SV_ARG(out.detail));
		if (result == IMGURL_OK && !sv_eq(written(), sv_str(rows[i].written)))
			fail_msg("%s: %.*s", rows[i].options, SV_ARG(written()));
	}
}

/* Every name of the table, with arguments for which it has a use. */
static void test_each_option_is_taken_by_both_names(void **state)
{
	(void)state;
	static const struct {
		const char *brief;
		const char *full;
	} names[] = {
#define OPTION(brief, full, most, apply) { brief, full },
#include "imgurl/options.def"
#undef OPTION
	};
	static const char *const arguments[] = { "1", "fit", "ce", "webp", "jpg:5", "thumb", "90", "abc", "100", "0" };
	struct imgurl_tenant tenant = make_tenant();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool taken = false;
		for (size_t k = 0; k < sizeof(arguments) / sizeof(arguments[0]) && !taken; k++) {
			char options[128];
			char as_written[128];
			snprintf(options, sizeof(options), "%s:%s/%s:%s/", names[i].full, arguments[k], names[i].brief,
			         arguments[k]);
			if (rewrite(options, &tenant) != IMGURL_OK)
				continue;
			taken = true;
			snprintf(as_written, sizeof(as_written), "/%s:", names[i].brief);
			struct sv text = written();
			assert_true(sv_starts(text, sv_str(as_written)));
			assert_memory_equal(text.p, text.p + text.n / 2, text.n / 2);
		}
		if (!taken)
			fail_msg("%s", names[i].full);
	}
}

static void test_refused_by_name(void **state)
{
	(void)state;
	static const char *const names[] = {
		"raw",
		"enc",
		"msr",
		"max_src_resolution",
		"msfs",
		"max_src_file_size",
		"maf",
		"max_animation_frames",
		"mafr",
		"max_animation_frame_resolution",
		"mrd",
		"max_result_dimension",
		"wmu",
		"watermark_url",
		"fiu",
		"fallback_image_url",
		"wmt",
		"watermark_text",
		"wms",
		"watermark_size",
		"st",
		"style",
		"foo",
		"-",
		"mafs",
		"hs",
		"da",
		"obj",
		"bc",
		"crop_ar",
		"pg",
		"page",
		"vts",
		"W",
		"RS",
		"Width",
		"min_width",
		"rss",
		"r",
		"resizE",
		"bypass_cache",
		"cache_tags",
		"dpi",
		"dl",
		"video_thumbnail_second",
		"up",
		"unsharp_masking",
		"a",
		"adjust",
		"br",
	};
	struct imgurl_tenant tenant = make_tenant();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char options[128];
		char sentence[128];
		snprintf(options, sizeof(options), "w:1/%s:1/h:1/", names[i]);
		snprintf(sentence, sizeof(sentence), "The option %s is not allowed.", names[i]);
		enum imgurl_result result = rewrite(options, &tenant);
		if (result != IMGURL_OPTION || !sv_eq(out.detail, sv_str(sentence)))
			fail_msg("%s: %s: %.*s", options, result_name(result), SV_ARG(out.detail));
		assert_int_equal(out.target.n, 0);
	}
	/* A name that is no word is not repeated. */
	static const char *const odd[] = {
		":1/",      "w%2Fraw:1/", "{w}:1/",
		"\"w\":1/", "w,:1/",      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1/"
	};
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		assert_int_equal(rewrite(odd[i], &tenant), IMGURL_OPTION);
		assert_true(sv_eq(out.detail, SV("One option is not allowed.")));
	}
	/* Chains and encrypted sources of imgproxy Pro are no options there. */
	assert_int_equal(rewrite("w:1/-/w:2/", &tenant), IMGURL_OPTION);
	assert_true(sv_eq(out.detail, SV("The option - is not allowed.")));
	assert_int_equal(rewrite("-/", &tenant), IMGURL_OPTION);
	assert_int_equal(rewrite("w:1/enc/", &tenant), IMGURL_OPTION);
	assert_true(sv_eq(out.detail, SV("The option enc is not allowed.")));
}

static void test_malformed(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"w:",
		"w:abc",
		"w:-1",
		"w:+1",
		"w:1.5",
		"w:1_0",
		"w:0x10",
		"w:1e3",
		"w:1:2",
		"w:%31",
		"w: 1",
		"w:1;raw:1",
		"w:{1}",
		"h:",
		"h:1,2",
		"mw:x",
		"mh:-2",
		"rs:nonsense:1:1",
		"rs:fit:abc",
		"rs:fit:1:1:2",
		"rs:fit:1:1:1:1:zz",
		"rs:FIT:1:1",
		"rs:fit:1:1:1:1:ce:1:2:3",
		"rs:fit:1:1:1::ce",
		"rs:fit:1:1:1:1:sm",
		"s:1:2:3",
		"s:a",
		"rt:",
		"rt:cover",
		"z:0",
		"z:0:1",
		"z:1:0",
		"z:-1",
		"z:1:1:1",
		"z:a",
		"z:1e1",
		"z:NaN",
		"z:Inf",
		"z:.",
		"z:1.2.3",
		"dpr:0",
		"dpr:-2",
		"dpr:0.000",
		"dpr:2x",
		"el:2",
		"el:yes",
		"el:",
		"ex:",
		"ex:2",
		"ex:1:zz",
		"ex:1:sm",
		"exar:x",
		"g:",
		"g:center",
		"g:obj:face",
		"g:sm:1",
		"g:fp",
		"g:fp:1",
		"g:fp:2:0.5",
		"g:fp:-0.1:0",
		"g:ce:1:2:3",
		"g:ce:x",
		"c:",
		"c:-1",
		"c:1:2:zz",
		"c:1:2:sm:1",
		"t:x",
		"t:1:zzz",
		"t:1:12345",
		"t:1:abc:2",
		"t:-1",
		"t:1:abc:1:1:1",
		"pd:a",
		"pd:",
		"pd::5",
		"pd:1::3",
		"pd:-1",
		"pd:1:2:3:4:5",
		"rot:45",
		"rot:x",
		"rot:--90",
		"rot:",
		"fl:2",
		"fl:1:1:1",
		"bg:12",
		"bg:ggg",
		"bg:1:2",
		"bg:256:0:0",
		"bg:-1:0:0",
		"bg:1:2:3:4",
		"bg:#fff",
		"bl:-1",
		"bl:x",
		"bl:",
		"sh:x",
		"pix:1.5",
		"pix:-1",
		"wm:2",
		"wm:",
		"wm:0.5:zz",
		"wm:0.5:ce:x",
		"wm:0.5:ce:1:1:1:1",
		"sm:x",
		"kcr:2",
		"scp:",
		"ph:y",
		"eth:-",
		"q:-1",
		"q:a",
		"q:1.5",
		"q:",
		"fq:jpg",
		"fq:jpg:1:png",
		"fq:zzz:1",
		"fq:jpg:x",
		"mb:-1",
		"mb:x",
		"mb:99999999999",
		"f:zzz",
		"f:PNG",
		"f:",
		"f:png:1",
		"ext:.png",
		"skp:",
		"skp:zzz",
		"cb:",
		"cb:a b",
		"cb:a:b",
		"cb:%41",
		"cb:a/../b",
		"exp:",
		"exp:x",
		"exp:1.5",
		"exp:99999999999999999999",
		"exp:+1",
		"exp:1:2",
		"exp:--1",
		"exp:0001",
		"fn:",
		"fn:a%2Fb",
		"fn:a\"b",
		"fn:a\\b",
		"fn:Y2F0:2",
		"fn:Y2F0:1:1",
		"fn:Y:1",
		"fn:Y2 F0:1",
		"fn:YS9i:1",
		"fn:eCINClNldC1Db29raWU6IGE9Yg:1",
		"fn:gIA:1",
		"fn:AA:1",
		"att:x",
		"ar:x",
	};
	struct imgurl_tenant tenant = make_tenant();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char options[128];
		snprintf(options, sizeof(options), "%s/", rows[i]);
		enum imgurl_result result = rewrite(options, &tenant);
		if (result != IMGURL_INVALID)
			fail_msg("%s: %s: %.*s", rows[i], result_name(result), SV_ARG(out.detail));
		/* A byte that no target has is refused before the options are looked at. */
		if (strchr(rows[i], ' ') == NULL && strchr(rows[i], '/') == NULL) {
			char sentence[128];
			snprintf(sentence, sizeof(sentence), "The option %.*s has arguments that are not valid.",
			         (int)strcspn(rows[i], ":"), rows[i]);
			assert_int_equal(out.detail.n, strlen(sentence));
			assert_memory_equal(out.detail.p, sentence, out.detail.n);
		}
	}
}

static void test_too_many_arguments(void **state)
{
	(void)state;
	struct imgurl_tenant tenant = make_tenant();
	char options[512] = "skp";
	for (int i = 0; i < 32; i++)
		strcat(options, ":gif");
	strcat(options, "/");
	assert_int_equal(rewrite(options, &tenant), IMGURL_OK);
	options[strlen(options) - 1] = '\0';
	strcat(options, ":gif/");
	assert_int_equal(rewrite(options, &tenant), IMGURL_INVALID);
}

static void test_skp_of_svg(void **state)
{
	(void)state;
	struct imgurl_tenant tenant = make_tenant();
	assert_int_equal(rewrite("skp:gif:svg/", &tenant), IMGURL_OPTION);
	assert_true(sv_eq(out.detail, SV("The option skp is not allowed for svg.")));
}

static void test_presets(void **state)
{
	(void)state;
	static const char *const refused[] = { "pr:foo/",    "preset:thumb:foo/", "pr:/",        "pr:thum/",
		                               "pr:thumbx/", "pr:Thumb/",         "pr:thumb::x/" };
	struct imgurl_tenant tenant = make_tenant();
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(rewrite(refused[i], &tenant), IMGURL_OPTION);
	assert_int_equal(rewrite("pr:foo/", &tenant), IMGURL_OPTION);
	assert_true(sv_eq(out.detail, SV("The option pr names a preset that this account may not use.")));
	tenant.presets = (struct imgurl_list){ NULL, 0 };
	assert_int_equal(rewrite("pr:thumb/", &tenant), IMGURL_OPTION);
	/* An operator's name that is no word could not be written. */
	uint8_t buf[32];
	static const char *const odd[] = { "a/b", "", NULL };
	tenant.presets = list_of(buf, sizeof(buf), odd);
	assert_int_equal(rewrite("pr:a/b/", &tenant), IMGURL_OPTION);
	assert_int_equal(rewrite("pr:/", &tenant), IMGURL_INVALID);
	/* A list that is cut has what is whole. */
	tenant = make_tenant();
	tenant.presets.n = 2 + 5 + 2;
	assert_int_equal(rewrite("pr:thumb/", &tenant), IMGURL_OK);
	assert_int_equal(rewrite("pr:x/", &tenant), IMGURL_OPTION);
}

static void test_expires(void **state)
{
	(void)state;
	static const struct {
		const char *options;
		enum imgurl_result result;
		enum imgurl_result required;
	} rows[] = {
		{ "", IMGURL_OK, IMGURL_OPTION },
		{ "exp:0/", IMGURL_OK, IMGURL_OPTION },
		{ "exp:-1/", IMGURL_OK, IMGURL_OPTION },
		{ "exp:1/", IMGURL_EXPIRED, IMGURL_EXPIRED },
		{ "exp:1799999999/", IMGURL_EXPIRED, IMGURL_EXPIRED },
		{ "exp:1800000000/", IMGURL_EXPIRED, IMGURL_EXPIRED },
		{ "exp:1800000001/", IMGURL_OK, IMGURL_OK },
		{ "expires:9223372036854775807/", IMGURL_OK, IMGURL_OK },
		{ "exp:1/exp:1800000001/", IMGURL_EXPIRED, IMGURL_EXPIRED },
		{ "exp:1800000001/exp:0/", IMGURL_OK, IMGURL_OPTION },
		{ "exp:0/exp:1800000001/", IMGURL_OK, IMGURL_OK },
	};
	struct imgurl_tenant tenant = make_tenant();
	struct imgurl_tenant strict = make_tenant();
	strict.bounds.require_expires = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(rewrite(rows[i].options, &tenant), rows[i].result);
		assert_int_equal(rewrite(rows[i].options, &strict), rows[i].required);
		if (rows[i].required == IMGURL_OPTION)
			assert_true(sv_starts(out.detail, SV("The option exp is needed")));
	}
	/* A day, where an end is needed. */
	tenant.bounds.max_lifetime = strict.bounds.max_lifetime = 86400;
	assert_int_equal(rewrite("exp:1800086401/", &tenant), IMGURL_OK);
	assert_int_equal(rewrite("exp:1800086400/", &strict), IMGURL_OK);
	assert_int_equal(rewrite("exp:1800086401/", &strict), IMGURL_OPTION);
	assert_true(sv_eq(out.detail, SV("The option exp goes beyond its bound: at most 86400 seconds from now.")));
	assert_int_equal(rewrite("exp:9223372036854775807/", &strict), IMGURL_OPTION);
	assert_int_equal(rewrite("exp:1800086401/exp:1800000009/", &strict), IMGURL_OK);
	assert_int_equal(rewrite("", &strict), IMGURL_OPTION);
}

static void test_bounds(void **state)
{
	(void)state;
	static const struct {
		const char *options;
		const char *name; /* of the option that goes beyond; NULL: none does */
	} rows[] = {
		{ "w:4096/h:4096/", NULL },
		{ "w:4097/", "w" },
		{ "width:4097/", "width" },
		{ "h:4097/", "h" },
		{ "mw:4097/", "mw" },
		{ "min-height:4097/", "min-height" },
		{ "rs:force:20000:20000:1/", "rs" },
		{ "size:1:20000/", "size" },
		{ "w:99999999999999999999999999/", "w" },
		{ "w:20000/w:10/", NULL }, /* the last one holds */
		{ "w:10/rs:fit:20000/", "rs" },
		{ "rs:fit:20000:1/rs:fit::1/", "rs" }, /* what is left out stays */
		{ "w:2048/dpr:2/", NULL },
		{ "w:2049/dpr:2/", "w" },
		{ "dpr:2/w:2049/", "w" },
		{ "w:2049/dpr:2/dpr:1/", NULL },
		{ "w:1024/dpr:2/z:2/", NULL },
		{ "w:1025/dpr:2/z:2/", "w" },
		{ "w:2000/h:1000/z:2:4/", NULL },
		{ "w:1000/h:2000/z:2:4/", "h" },
		{ "w:8192/z:0.5/", NULL },
		{ "w:8193/z:0.5/", "w" },
		{ "w:8192/dpr:0.5/", NULL },
		{ "mw:8192/z:0.5/", "mw" }, /* a minimum is not made smaller again */
		{ "mh:8192/dpr:0.5/", "mh" },
		{ "mw:1025/dpr:4/", "mw" },
		{ "dpr:4/", NULL },
		{ "dpr:4.0001/", "dpr" },
		{ "dpr:4.00000000000000000000001/", "dpr" },
		{ "dpr:5/dpr:1/", "dpr" },
		{ "dpr:99999999999999999999/", "dpr" },
		{ "z:4:4/", NULL },
		{ "z:4.001/", "z" },
		{ "zoom:1:5/", "zoom" },
		{ "rs:fit:2048:2048/bl:50/", NULL },
		{ "bl:50.1/", "bl" },
		{ "sharpen:51/", "sharpen" },
		{ "q:101/", "q" },
		{ "quality:99999999999999999999/", "quality" },
		{ "fq:jpg:100:png:101/", "fq" },
		{ "pix:4096/", NULL },
		{ "pix:4097/", "pix" },
		{ "crop:4096:4096/", NULL },
		{ "crop:4097/", "crop" },
		{ "c:1:4096.5/", "c" },
		{ "pd:2048/", NULL },
		{ "pd:2049/", "pd" },
		{ "pd:0:4000:0:97/", "pd" },
		{ "pd:100/w:4000/", "pd" },
		{ "pd:48:0/w:4000/h:4000/", NULL },
		{ "padding:49:0/h:4000/", "padding" },
		{ "pd:1024/dpr:2/", NULL },
		{ "pd:1025/dpr:2/", "pd" },
		{ "pd:2048/dpr:0.5/", NULL },
		{ "pd:2000/mw:97/", "pd" },
		{ "wm:1:re:4096:4096/", NULL },
		{ "wm:1:re:4097/", "wm" },
		{ "wm:1:re:0:-4097/", "wm" },
		{ "wm:1:ce:0:0:1/", NULL },
		{ "wm:1:ce:0:0:1.1/", "wm" },
		/* times the source's own size */
		{ "el:1/", NULL },
		{ "el:1/z:2/", "el" },
		{ "rs:fit:0:0:1/dpr:1.1/", "rs" },
		{ "el:1/z:2/dpr:0.5/", NULL },
		{ "el:1/z:1:2/", "el" },
		{ "el:1/z:2/w:100/", NULL },
		{ "z:4/dpr:4/", NULL },
		{ "el:1/z:2/el:0/", NULL },
		/* a ratio times a minimum */
		{ "exar:1/w:4000/h:1/", NULL },
		{ "exar:1/w:4000/h:1/mh:4000/", "exar" },
		{ "extend_ar:1/mw:1/", "extend_ar" },
		{ "exar:1/exar:0/mw:1/", NULL },
	};
	struct imgurl_tenant tenant = make_tenant();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char start[64];
		enum imgurl_result result = rewrite(rows[i].options, &tenant);
		if (result != (rows[i].name != NULL ? IMGURL_OPTION : IMGURL_OK))
			fail_msg("%s: %s: %.*s", rows[i].options, result_name(result), SV_ARG(out.detail));
		if (rows[i].name == NULL)
			continue;
		snprintf(start, sizeof(start), "The option %s ", rows[i].name);
		if (!sv_starts(out.detail, sv_str(start)))
			fail_msg("%s: %.*s", rows[i].options, SV_ARG(out.detail));
	}
	rewrite("w:4097/", &tenant);
	assert_true(sv_eq(out.detail,
	                  SV("The option w goes beyond its bound: at most 4096 pixels, zoom and dpr included.")));
	tenant.bounds.max_dpr = 1250;
	assert_int_equal(rewrite("dpr:1.25/", &tenant), IMGURL_OK);
	assert_int_equal(rewrite("dpr:1.3/", &tenant), IMGURL_OPTION);
	assert_true(sv_eq(out.detail, SV("The option dpr goes beyond its bound: at most 1.25.")));
	tenant.bounds.max_dimension = UINT32_MAX;
	tenant.bounds.max_dpr = UINT32_MAX;
	tenant.bounds.max_zoom = UINT32_MAX;
	assert_int_equal(rewrite("w:4294967295/pd:2147483647/", &tenant), IMGURL_OPTION);
	assert_int_equal(rewrite("w:4294967295/", &tenant), IMGURL_OK);
	assert_int_equal(rewrite("w:4294967/dpr:1000.1/", &tenant), IMGURL_OPTION);
	assert_int_equal(rewrite("w:999999999999/z:4294967.295/dpr:4294967.295/pd:999999999/", &tenant), IMGURL_OPTION);
	tenant.bounds = (struct imgurl_bounds){ 0 };
	assert_int_equal(rewrite("w:1/", &tenant), IMGURL_OPTION);
	assert_int_equal(rewrite("", &tenant), IMGURL_OK);
}

/* Rows of options, and the option that is refused; NULL: none is. */
struct row {
	const char *options;
	const char *name;
};

static void check_rows(const struct row *rows, size_t n, const struct imgurl_tenant *tenant)
{
	for (size_t i = 0; i < n; i++) {
		char start[64];
		enum imgurl_result result = rewrite(rows[i].options, tenant);
		if (result != (rows[i].name != NULL ? IMGURL_OPTION : IMGURL_OK))
			fail_msg("%s: %s: %.*s", rows[i].options, result_name(result), SV_ARG(out.detail));
		if (rows[i].name == NULL)
			continue;
		snprintf(start, sizeof(start), "The option %s ", rows[i].name);
		if (!sv_starts(out.detail, sv_str(start)))
			fail_msg("%s: %.*s", rows[i].options, SV_ARG(out.detail));
	}
}

#define CHECK_ROWS(rows, tenant) check_rows(rows, sizeof(rows) / sizeof((rows)[0]), tenant)

/* What imgproxy makes before it cuts. */
static void test_way(void **state)
{
	(void)state;
	static const struct row rows[] = {
		/* the giant, and its relatives */
		{ "c:100:4000/rs:fill:4096:1:1/rot:90/", "rs" },
		{ "rs:fill:4096:1:1/", "rs" },
		{ "rs:fill:1:4096:1/", "rs" },
		{ "rs:fill:4096:4096:1/", "rs" },
		{ "rs:fill-down:4096:1:1/", "rs" },
		{ "rs:auto:4096:2:1/", "rs" },
		{ "rt:fill/el:1/width:10/height:3000/", "height" },
		{ "size:3000:10:1/rt:auto/", "size" },
		{ "rs:fill:1024:1024:1/dpr:2/", NULL },
		{ "rs:fill:1025:1024:1/dpr:2/", "rs" },
		{ "dpr:4/z:2/rs:fill:300:1:1/", "rs" },
		{ "rs:fill:1000:1:1/z:1:4/", NULL }, /* 4 x 1000 x 1000 x 24 */
		{ "rs:fill:1025:1:1/z:1:4/", "rs" },
		{ "z:0.5/rs:fill:4096:4096:1/", NULL },
		/* at the bound: 2048 x 2048 x 24 is six times 4096 x 4096 */
		{ "rs:fill:2048:2048:1/", NULL },
		{ "rs:fill:2048:1:1/rot:90/", NULL },
		{ "rs:fill:2049:1:1/", "rs" },
		/* what people do */
		{ "rs:fill:300:300/", NULL },
		{ "rs:fill:300:300:1/dpr:2/rot:90/g:sm/", NULL },
		{ "rs:fill:1200:630:1/", NULL },
		{ "rs:fill:1920:1080:1/", NULL },
		{ "rs:fit:1000:0:1/", NULL },
		{ "rs:fit:4096:4096:1/rot:90/", NULL },
		{ "rs:force:4096:1:1/", NULL },
		{ "rs:fill:4096:0:1/", NULL }, /* nothing is cut: IMGPROXY_MAX_RESULT_DIMENSION */
		{ "rs:fill:0:4096:1/", NULL },
		{ "w:4096/el:1/", NULL },
		{ "rs:fill:4096:4096/", NULL }, /* not larger than the source */
		{ "c:100:4000/rs:fill:4096:1/rot:90/", NULL },
		{ "rs:fill:4096:1:1/el:0/", NULL },
		{ "rs:fill:4096:1:1/rt:fit/", NULL },
		{ "t:10/rs:fill:300:300/", NULL },
		{ "c:800:600/rs:fill:1200:630:1/", NULL },
		{ "c:0.5:0.5/rs:fill:2000:2000:1/", NULL },
		{ "rs:fill:300:300/mw:200/mh:200/dpr:2/", NULL },
		{ "mw:4096/", NULL },
		{ "mw:800/mh:600/w:1000/", NULL },
	};
	struct imgurl_tenant tenant = make_tenant();
	CHECK_ROWS(rows, &tenant);
	rewrite("rs:fill:2049:1:1/", &tenant);
	assert_true(sv_eq(out.detail, SV("The option rs goes beyond its bound: at most 2048 pixels where the image is "
	                                 "enlarged and then cut, zoom and dpr included.")));
	/* The bound follows the user's own; a source of 50 million pixels is taken from anybody. */
	tenant.bounds.max_dimension = 500;
	static const struct row small[] = { { "rs:fill:500:500:1/", NULL }, { "rs:fill:501:1:1/", "rs" } };
	CHECK_ROWS(small, &tenant);
	tenant.bounds.max_dimension = 8192;
	static const struct row large[] = { { "rs:fill:4096:1:1/", NULL }, { "rs:fill:4097:1:1/", "rs" } };
	CHECK_ROWS(large, &tenant);
	tenant.bounds.max_ratio = 96;
	static const struct row longer[] = { { "rs:fill:2048:1:1/", NULL }, { "rs:fill:2049:1:1/", "rs" } };
	CHECK_ROWS(longer, &tenant);
}

/* What blur and sharpen cost is their sigma times the pixels of the result. */
static void test_filters(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "bl:12.5/", NULL }, /* 4096 x 4096, for all that is known */
		{ "bl:12.6/", "bl" },
		{ "sh:12.5/", NULL },
		{ "sharpen:12.6/", "sharpen" },
		{ "bl:50/bl:5/", NULL }, /* the last one holds */
		{ "bl:10/sh:2.5/", NULL },
		{ "bl:10/sh:2.6/", "bl" },
		{ "bl:5/sh:10/", "sh" },
		{ "w:2048/h:2048/bl:50/", NULL },
		{ "w:2048/h:2049/bl:50/", "bl" },
		{ "bl:50/rs:fill:4096:1024/", NULL },
		{ "w:1024/bl:50/", NULL }, /* the other side is the source's */
		{ "w:1025/bl:50/", "bl" },
		{ "w:1025/h:0/bl:50/", "bl" },
		{ "w:1024/h:1024/dpr:2/bl:50/", NULL },
		{ "w:1024/h:1024/dpr:2/z:1.1:1/bl:50/", "bl" },
		{ "w:4096/h:4096/z:0.5/bl:50/", NULL },
		{ "w:100/h:2048/mw:2048/bl:50/", NULL },
		{ "w:100/h:2049/mw:2048/bl:50/", "bl" },
		{ "mw:100/mh:100/bl:50/", "bl" },
		{ "pr:thumb/bl:12.5/", NULL },
		{ "w:100/h:100/pr:thumb/bl:50/", "bl" }, /* the preset's sides may be others */
		{ "pr:thumb/w:100/h:100/bl:50/", NULL },
	};
	struct imgurl_tenant tenant = make_tenant();
	CHECK_ROWS(rows, &tenant);
	rewrite("bl:50/", &tenant);
	assert_true(sv_eq(out.detail,
	                  SV("The option bl goes beyond its bound: at most 12.5, blur and sharpen together, for a "
	                     "result that may be this large: a smaller width and height let more.")));
	/* Who may blur more may do so on as many pixels; who may not have large results can have large sources. */
	tenant.bounds.max_blur = 1000 * 1000;
	tenant.bounds.max_dimension = 500;
	static const struct row other[] = { { "w:500/h:500/bl:1000/", NULL },
		                            { "bl:250/", NULL },
		                            { "bl:251/", "bl" } };
	CHECK_ROWS(other, &tenant);
}

/* A crop makes a ratio of its own, and so does trim. */
static void test_way_of_crops(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "c:100:2400/rs:fill:2048:1:1/", NULL }, /* 1 to 24 */
		{ "c:100:2500/rs:fill:2048:1:1/", "rs" },
		{ "crop:2500:100:sm/rs:fill:2048:1:1/", "rs" },
		{ "c:1:4096/rs:fill:156:1:1/", NULL }, /* 156 x 156 x 4096 */
		{ "c:1:4096/rs:fill:157:1:1/", "rs" },
		{ "c:1:4096/c:4096/rs:fill:2048:1:1/", NULL }, /* the height stays */
		{ "c:4096:1/c:1/rs:fill:2048:1:1/", NULL },
		{ "c:4096:4096/c:1/rs:fill:2048:1:1/", "rs" },
		/* one side is the source's: up to 34,641 pixels */
		{ "c:1000/rs:fill:1704:1:1/", NULL },
		{ "c:1000/rs:fill:1705:1:1/", "rs" },
		{ "c:0:10/rs:fill:170:1:1/", NULL },
		{ "c:0:10/rs:fill:171:1:1/", "rs" },
		{ "c:10:0.5/rs:fill:241:1:1/", NULL },
		{ "c:10:0.5/rs:fill:242:1:1/", "rs" },
		/* shares */
		{ "c:0.5/rs:fill:1440:1:1/", NULL },
		{ "c:0.5/rs:fill:1450:1:1/", "rs" },
		{ "c:0.2:0.2/rs:fill:2048:1:1/", NULL },
		{ "c:0.1:0.9/rs:fill:2048:1:1/", "rs" },
		{ "c:0.00001/rs:fill:53:1:1/", NULL },
		{ "c:0.00001/rs:fill:54:1:1/", "rs" },
		{ "c:0.001:0.9995/rs:fill:200:1:1/", "rs" },
		{ "t:10/rs:fill:300:300:1/", "t" },
		{ "trim:10/rs:auto:300:300:1/", "trim" },
		{ "t:10/rs:fit:300:300:1/", NULL },
		/* beside a minimum too */
		{ "c:1:4096/w:10/mw:156/", NULL },
		{ "c:1:4096/w:10/mw:157/", "mw" },
		{ "t:10/w:10/mw:10/", "t" },
		{ "t:10/mw:10/", NULL },
	};
	struct imgurl_tenant tenant = make_tenant();
	CHECK_ROWS(rows, &tenant);
}

static void test_way_of_minima(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "w:1/mw:2048/", NULL },
		{ "w:1/mw:2049/", "mw" },
		{ "h:1/min-height:2049/", "min-height" },
		{ "w:1/mw:1024/dpr:2/", NULL },
		{ "w:1/mw:1025/dpr:2/", "mw" },
		{ "rs:fill:1:1/mw:3000/", "mw" },
		{ "mw:3000/mh:10/w:5/w:0/", NULL },
		/* 1 to 4096, of which the minimum makes 4096 to 16 million */
		{ "rs:force:1:4096/mw:4096/", "mw" },
		{ "rs:force:300:300/mh:2/", "mh" },
		{ "z:0.001:4/rs:fit:1000:1000/mw:4000/", "mw" },
		{ "z:1:2/mw:100/", "mw" },
		{ "z:2:2/mw:100/w:10/", NULL },
	};
	struct imgurl_tenant tenant = make_tenant();
	CHECK_ROWS(rows, &tenant);
}

/* imgproxy enlarges an SVG whether or not it is told to. */
static void test_way_of_vectors(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "rs:fill:2048:1/", NULL },
		{ "rs:fill:2049:1/", "rs" },
		{ "c:100:4000/rs:fill:4096:1/rot:90/", "rs" },
		{ "t:10/rs:fill:4096:1/", NULL }, /* what was trimmed is pixels */
		{ "t:10/rs:fill:300:1:1/", "t" },
		{ "rs:fit:4096:4096/", NULL },
	};
	struct imgurl_tenant tenant = make_tenant();
	tenant.bounds.vectors = true;
	CHECK_ROWS(rows, &tenant);
}

static void test_way_of_presets(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "pr:thumb/", NULL },
		{ "pr:thumb/rot:90/q:80/f:webp/bl:2/pd:10/", NULL },
		{ "pr:thumb/dpr:1/z:1/", NULL },
		{ "pr:thumb/dpr:0.5/z:0.5/", NULL },
		{ "pr:thumb/dpr:2/", "dpr" },
		{ "dpr:2/pr:thumb/", "dpr" },
		{ "pr:thumb/z:1.1/", "zoom" },
		{ "pr:thumb/z:0.1:1/", "zoom" },
		{ "pr:thumb/mw:10/", "mw" },
		{ "pr:thumb/min-height:10/", "min-height" },
		{ "pr:thumb/el:1/", "el" },
		{ "pr:thumb/el:0/", NULL },
		{ "pr:thumb/t:10/", "t" },
		{ "pr:thumb/c:100/", "c" },
		{ "c:100:100/pr:thumb/", NULL },
		{ "c:100/pr:thumb/", "c" },
		{ "pr:thumb/c:100:100/", NULL },
		{ "pr:thumb/c:100:3300/", "c" },
		{ "pr:thumb/w:2048/", NULL }, /* it may enlarge and cut */
		{ "pr:thumb/w:2049/", "w" },
		{ "pr:thumb/rs:fill:2049:1/", "rs" },
		{ "pr:thumb/rs:fill:2049:1:0/", NULL },
		{ "pr:thumb/rs:fit:4096:4096/", NULL },
		/* the URL says all that counts */
		{ "pr:thumb/rs:fit:300:0/dpr:2/", NULL },
		{ "pr:thumb/rs:fill:300:300:1/dpr:2/z:1.5/", NULL },
		{ "pr:thumb/rs:fit:300:300/dpr:2/pr:x/", "dpr" },
		{ "rs:fit:300:300/pr:thumb/dpr:2/", "dpr" },
		{ "pr:thumb/w:300/h:0/dpr:2/", "dpr" },
		{ "pr:thumb/w:300/h:0/rt:fit/dpr:2/", NULL },
		{ "pr:thumb/rs:fit:4096:4096/dpr:2/", "rs" },
		{ "pr:thumb/rs:force:10:10/mw:10/", "mw" },
		{ "pr:thumb/rs:fit:10:10/mw:10/", NULL },
		{ "pr:thumb/rs:fill:300:300:0/c:100/", "c" },
	};
	struct imgurl_tenant tenant = make_tenant();
	CHECK_ROWS(rows, &tenant);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_each_option_is_taken_by_both_names),
		cmocka_unit_test(test_refused_by_name),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_too_many_arguments),
		cmocka_unit_test(test_skp_of_svg),
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_expires),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_way),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_way_of_crops),
		cmocka_unit_test(test_way_of_minima),
		cmocka_unit_test(test_way_of_vectors),
		cmocka_unit_test(test_way_of_presets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
