#include "agent/limit_text.h"

#include "base/sv.h"

struct policy_line {
	struct sv name;   /* with its quotes */
	struct sv suffix; /* of the policy, behind q */
	uint8_t flag;
	const struct limit_view *view;
};

enum { LINE_MINUTE = 0, LINE_HOUR, LINE_BYTES, LINE_REQUESTS, LINE_COUNT };

static void text(struct wcur *out, struct sv v)
{
	wcur_sv(out, v);
}

/* The greatest integer of structured fields (RFC 9651): what is more would make the whole field invalid. */
#define FIELD_INT_MAX UINT64_C(999999999999999)

static void number(struct wcur *out, uint64_t n)
{
	wcur_u64(out, n < FIELD_INT_MAX ? n : FIELD_INT_MAX);
}

static void write_policy(struct wcur *out, const struct policy_line *line)
{
	text(out, SV(";q="));
	number(out, line->view->quota);
	text(out, line->suffix);
}

static void write_left(struct wcur *out, const struct policy_line *line)
{
	text(out, SV(";r="));
	number(out, line->view->left);
	text(out, SV(";t="));
	number(out, line->view->reset_s);
}

/* One item for each limit that there is. */
static void write_list(struct wcur *out, const struct policy_line *lines,
                       void (*write)(struct wcur *out, const struct policy_line *line))
{
	bool first = true;

	for (int i = 0; i < LINE_COUNT; i++) {
		if (lines[i].view->quota == 0)
			continue;
		if (!first)
			text(out, SV(", "));
		first = false;
		text(out, lines[i].name);
		write(out, &lines[i]);
	}
}

static void write_tightest(struct wcur *out, const struct limit_view *v)
{
	wcur_u64(out, v->quota);
	text(out, SV("|"));
	wcur_u64(out, v->left);
	text(out, SV("|"));
	wcur_u64(out, v->reset_s);
	text(out, SV("|"));
}

/* Bytes are not compared with requests: they are the tightest only when they refuse. */
static const struct limit_view *tightest(const struct user_limits *u, const struct policy_line *lines,
                                         enum verdict_code code)
{
	static const int order[] = { LINE_MINUTE, LINE_HOUR, LINE_REQUESTS };
	const struct limit_view *found = NULL;

	if (code == VERDICT_QUOTA_BANDWIDTH)
		return lines[LINE_BYTES].view;
	if (code == VERDICT_QUOTA_REQUESTS)
		return lines[LINE_REQUESTS].view;
	/* Those in shadow refuse nobody: they count only when there are no others. */
	for (int shadow = 0; shadow < 2 && found == NULL; shadow++)
		for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
			const struct policy_line *line = &lines[order[i]];
			bool is_shadow = (u->flags & line->flag) != 0;
			if (line->view->quota != 0 && is_shadow == (shadow == 1) &&
			    (found == NULL || line->view->left < found->left))
				found = line->view;
		}
	return found != NULL ? found : lines[LINE_BYTES].view;
}

void limit_text_user(struct wcur *out, const struct user_limits *u, const struct limits_view *view,
                     enum verdict_code code)
{
	const struct policy_line lines[LINE_COUNT] = {
		[LINE_MINUTE] = { SV("\"minute\""), SV(";w=60"), USER_SHADOW_MINUTE, &view->minute },
		[LINE_HOUR] = { SV("\"hour\""), SV(";w=3600"), USER_SHADOW_HOUR, &view->hour },
		[LINE_BYTES] = { SV("\"month-bytes\""), SV(";qu=\"content-bytes\""), USER_SHADOW_BANDWIDTH,
		                 &view->bytes },
		[LINE_REQUESTS] = { SV("\"month-requests\""), SV(""), USER_SHADOW_REQUESTS, &view->requests },
	};

	if (view->minute.quota == 0 && view->hour.quota == 0 && view->bytes.quota == 0 && view->requests.quota == 0)
		return;
	write_tightest(out, tightest(u, lines, code));
	write_list(out, lines, write_left);
	text(out, SV("|"));
	write_list(out, lines, write_policy);
}

void limit_text_address(struct wcur *out, uint64_t per_minute, uint64_t retry_s)
{
	const struct limit_view view = { .quota = per_minute, .left = 0, .reset_s = retry_s };

	write_tightest(out, &view);
	text(out, SV("\"address\";r=0;t="));
	wcur_u64(out, retry_s);
	text(out, SV("|\"address\";q="));
	wcur_u64(out, per_minute);
	text(out, SV(";w=60"));
}
