#include <inttypes.h>
#include <string.h>

#include "base/sv.h"
#include "cli/cli.h"
#include "cli/key_maker.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "policy/scope.h"
#include "store/admin_json.h"
#include "store/admin_words.h"

/* `key create` */
enum { OPTION_NAME = 0, OPTION_SCOPES, OPTION_EXPIRES, OPTION_SIGNING };
/* `key rotate` */
enum { OPTION_GRACE = 0 };

#define NO_MASTER "the setting auth.master_key (AUTH_MASTER_KEY) is empty: signing keys cannot be sealed"

/* What was given may be a whole key by mistake: it is not repeated. */
static bool take_key_id(struct cli_call *call, uint64_t *id)
{
	if (sv_to_u64(sv_str(call->args[0]), id) == ERR_OK)
		return true;
	(void)cli_refuse(call, "KEY_ID is a number: the id that `key create` printed, the 7 of igw_7_…");
	return false;
}

/* What keys are made with; on false a refusal has been printed. */
static bool take_maker(struct cli_call *call, struct admin_key_maker *maker)
{
	const char *why = key_maker_take(call->settings, maker);

	if (why != NULL)
		(void)cli_refuse(call, "%s", why);
	return why == NULL;
}

static void print_new_key(FILE *f, const struct admin_key *k, const struct admin_key_secrets *secrets)
{
	fprintf(f, "key %" PRIu64 " of %s (scopes %s, %s%s); it is shown this once:\n%s\n", k->id, k->username,
	        k->scopes, k->expires_at != NULL ? "expires " : "never expires",
	        k->expires_at != NULL ? k->expires_at : "", secrets->text);
	if (k->signing)
		fprintf(f, "signing_key %s\nsigning_salt %s\n", secrets->signing_key, secrets->signing_salt);
}

static json_t *new_key_json(const struct admin_key *k, const struct admin_key_secrets *secrets)
{
	json_t *v = admin_json_key(k);

	json_object_set_new(v, "key", json_string(secrets->text));
	if (k->signing) {
		json_object_set_new(v, "signing_key", json_string(secrets->signing_key));
		json_object_set_new(v, "signing_salt", json_string(secrets->signing_salt));
	}
	return v;
}

static void show_new_key(struct cli_call *call, const struct admin_key *k, const struct admin_key_secrets *secrets)
{
	if (call->json)
		output_json(call->io->out, new_key_json(k, secrets));
	else
		print_new_key(call->io->out, k, secrets);
}

enum cli_exit cmd_key_create(struct cli_call *call)
{
	struct admin_key_wish wish = { .user = call->args[0], .name = call->options[OPTION_NAME] };
	const char *scopes = call->options[OPTION_SCOPES], *expires = call->options[OPTION_EXPIRES];
	char error[ADMIN_ERROR_MAX];
	struct admin_key_secrets secrets;
	struct admin_key_maker maker;
	struct admin_keys list;

	wish.signing = call->options[OPTION_SIGNING] != NULL;
	if (wish.signing && call->settings->auth_master_key[0] == '\0')
		return cli_refuse(call, NO_MASTER);
	wish.scopes = SCOPE_READ | SCOPE_UPLOAD;
	if (scopes != NULL && scopes_parse(sv_str(scopes), &wish.scopes) != ERR_OK)
		return cli_refuse(call, "--scopes %s: a comma list of read, upload, admin, each at most once", scopes);
	if (expires != NULL && admin_duration(expires, &wish.lifetime_s) != ERR_OK)
		return cli_refuse(call, "--expires %s: a time as 30d, 12h, 45m or 90s, not 0, at most 36500d", expires);
	if (!take_maker(call, &maker))
		return CLI_REFUSED;
	enum err err = admin_key_create(call->db, &maker, &wish, &secrets, &list, error);
	sealer_free(maker.sealer);
	if (err != ERR_OK)
		return cli_refuse(call, "%s", error);
	show_new_key(call, &list.items[0], &secrets);
	explicit_bzero(&secrets, sizeof(secrets));
	admin_keys_free(&list);
	return CLI_DONE;
}

static void show_rotation(struct cli_call *call, const struct admin_keys *list, const struct admin_key_secrets *secrets)
{
	const struct admin_key *made = &list->items[0], *old = &list->items[1];
	bool ended = old->revoked_at != NULL;
	FILE *f = call->io->out;

	if (call->json) {
		json_t *v = new_key_json(made, secrets);
		json_object_set_new(v, "replaces", json_integer((json_int_t)old->id));
		json_object_set_new(v, "old_expires_at", ended ? json_null() : admin_json_text(old->expires_at));
		output_json(f, v);
		return;
	}
	fprintf(f, "key %" PRIu64 " %s %s\n", old->id, ended ? "is revoked since" : "passes until",
	        ended ? old->revoked_at : old->expires_at);
	print_new_key(f, made, secrets);
}

enum cli_exit cmd_key_rotate(struct cli_call *call)
{
	const char *grace = call->options[OPTION_GRACE];
	char error[ADMIN_ERROR_MAX];
	struct admin_key_secrets secrets;
	struct admin_key_maker maker;
	struct admin_keys list;
	uint64_t id = 0, grace_s = 0;

	if (!take_key_id(call, &id))
		return CLI_REFUSED;
	if (admin_grace(grace, &grace_s) != ERR_OK)
		return cli_refuse(call, "--grace %s: a time as 24h, 30d, 45m or 90s, at most 36500d; 0s is none",
		                  grace);
	if (!take_maker(call, &maker))
		return CLI_REFUSED;
	enum err err = admin_key_rotate(call->db, &maker, id, grace_s, &secrets, &list, error);
	sealer_free(maker.sealer);
	if (err != ERR_OK)
		return cli_refuse(call, "%s", error);
	show_rotation(call, &list, &secrets);
	explicit_bzero(&secrets, sizeof(secrets));
	admin_keys_free(&list);
	return CLI_DONE;
}

enum cli_exit cmd_key_list(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_keys list;

	if (admin_key_list(call->db, call->nargs > 0 ? call->args[0] : NULL, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (call->json)
		output_json(call->io->out, admin_json_keys(&list));
	else
		rows_key_table(call->io->out, &list);
	admin_keys_free(&list);
	return CLI_DONE;
}

enum cli_exit cmd_key_revoke(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_keys list;
	uint64_t id = 0;

	if (!take_key_id(call, &id))
		return CLI_REFUSED;
	if (admin_key_revoke(call->db, id, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	const struct admin_key *k = &list.items[0];
	if (call->json)
		output_json(call->io->out, admin_json_key(k));
	else
		fprintf(call->io->out, "key %" PRIu64 " of %s is revoked since %s\n", k->id, k->username,
		        k->revoked_at);
	admin_keys_free(&list);
	return CLI_DONE;
}
