#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/key_maker.h"
#include "cli/output.h"
#include "cli/policy_file.h"
#include "store/admin_json.h"

#define FILE_SIZE_MAX (UINT64_C(64) * 1024 * 1024)

/* `apply` */
enum { OPTION_FILE = 0, OPTION_DRY_RUN, OPTION_PRUNE, OPTION_KEYS_FILE };

/* ---- the file ---- */

/* On false a refusal has been printed. */
static bool read_stream(struct cli_call *call, FILE *f, const char *name, char **text, size_t *size)
{
	size_t room = 0;

	for (;;) {
		if (*size == room) {
			room = room > 0 ? room * 2 : 65536;
			*text = realloc(*text, room);
			CHECK(*text != NULL);
		}
		size_t n = fread(*text + *size, 1, room - *size, f);
		*size += n;
		if (*size > FILE_SIZE_MAX) {
			(void)cli_refuse(call, "%s: more than %" PRIu64 " MB", name, FILE_SIZE_MAX >> 20);
			return false;
		}
		if (n > 0)
			continue;
		if (ferror(f) == 0)
			return true;
		(void)cli_refuse(call, "%s: %m", name);
		return false;
	}
}

static bool read_file(struct cli_call *call, const char *name, char **text, size_t *size)
{
	if (strcmp(call->options[OPTION_FILE], "-") == 0)
		return read_stream(call, stdin, name, text, size);
	FILE *f = fopen(name, "re");
	if (f == NULL) {
		(void)cli_refuse(call, "%s: %m", name);
		return false;
	}
	bool ok = read_stream(call, f, name, text, size);
	fclose(f);
	return ok;
}

static enum cli_exit refuse_file(struct cli_call *call, const struct admin_policy_errors *errors)
{
	size_t kept = errors->count < ADMIN_POLICY_ERRORS_MAX ? errors->count : ADMIN_POLICY_ERRORS_MAX;

	if (!call->json) {
		for (size_t i = 0; i < kept; i++)
			(void)cli_refuse(call, "%s", errors->text[i]);
		if (errors->count > kept)
			(void)cli_refuse(call, "%s: %zu more errors", errors->file, errors->count - kept);
		return CLI_REFUSED;
	}
	json_t *all = json_array();
	for (size_t i = 0; i < kept; i++)
		json_array_append_new(all, admin_json_text(errors->text[i]));
	output_json(call->io->err, json_pack("{s:o, s:I, s:o}", "error", admin_json_text(errors->text[0]), "count",
	                                     (json_int_t)errors->count, "errors", all));
	return CLI_REFUSED;
}

/* An empty list may well come from a mistake, and there is no way back from it. */
static void check_prune(const struct admin_policy *want, struct admin_policy_errors *errors)
{
	if (want->users_given && want->users_count == 0)
		admin_policy_error(errors, 1, "users: an empty list and --prune would delete every user");
	if (want->backends_given && want->backends_count == 0)
		admin_policy_error(errors, 1, "backends: an empty list and --prune would remove every backend");
}

/* ---- the answer ---- */

/* As it is, where that is one word. */
static void print_word(FILE *f, const char *text)
{
	size_t n = 0;

	while (text[n] > ' ' && text[n] < 0x7f && text[n] != '"' && text[n] != '\\')
		n++;
	if (n > 0 && text[n] == '\0')
		fputs(text, f);
	else
		policy_file_put_text(f, text);
}

static void print_change(FILE *f, const struct admin_policy_change *c)
{
	fprintf(f, "%c %s", c->how, c->what);
	for (size_t i = 0; i < 2; i++) {
		const char *text = i == 0 ? c->user : c->name;
		if (text == NULL)
			continue;
		fputc(' ', f);
		print_word(f, text);
	}
	if (c->field != NULL) {
		fprintf(f, " %s ", c->field);
		print_word(f, c->from);
		fputs(" -> ", f);
		print_word(f, c->to);
	}
	fputc('\n', f);
}

static json_t *change_json(const struct admin_policy_change *c)
{
	const char *how = c->how == '+' ? "add" : c->how == '-' ? "remove" : "set";
	json_t *v = json_pack("{s:s, s:s}", "change", how, "what", c->what);

	CHECK(v != NULL);
	if (c->user != NULL)
		json_object_set_new(v, "user", admin_json_text(c->user));
	if (c->name != NULL)
		json_object_set_new(v, "name", admin_json_text(c->name));
	if (c->field == NULL)
		return v;
	json_object_set_new(v, "field", admin_json_text(c->field));
	json_object_set_new(v, "from", admin_json_text(c->from));
	json_object_set_new(v, "to", admin_json_text(c->to));
	return v;
}

static json_t *key_json(const struct admin_policy_new_key *k)
{
	json_t *v = json_pack("{s:I, s:o, s:o, s:s}", "id", (json_int_t)k->id, "user", admin_json_text(k->user), "name",
	                      admin_json_text(k->name), "key", k->secrets.text);

	CHECK(v != NULL);
	if (k->secrets.signing_key[0] != '\0') {
		json_object_set_new(v, "signing_key", json_string(k->secrets.signing_key));
		json_object_set_new(v, "signing_salt", json_string(k->secrets.signing_salt));
	}
	return v;
}

static void print_key(FILE *f, const struct admin_policy_new_key *k)
{
	fprintf(f, "key %" PRIu64 " of %s (", k->id, k->user);
	policy_file_put_text(f, k->name);
	fprintf(f, "); it is shown this once:\n%s\n", k->secrets.text);
	if (k->secrets.signing_key[0] != '\0')
		fprintf(f, "signing_key %s\nsigning_salt %s\n", k->secrets.signing_key, k->secrets.signing_salt);
}

/* keys: how many of them are shown. */
static void print_result(struct cli_call *call, const struct admin_policy_result *r, size_t keys)
{
	bool dry_run = call->options[OPTION_DRY_RUN] != NULL;
	FILE *f = call->io->out;

	if (call->json) {
		json_t *changes = json_array(), *made = json_array();
		for (size_t i = 0; i < r->diff.count; i++)
			json_array_append_new(changes, change_json(&r->diff.changes[i]));
		for (size_t i = 0; i < keys; i++)
			json_array_append_new(made, key_json(&r->keys[i]));
		output_json(f, json_pack("{s:o, s:o, s:b}", "changes", changes, "keys", made, "dry_run", dry_run));
		return;
	}
	for (size_t i = 0; i < r->diff.count; i++)
		print_change(f, &r->diff.changes[i]);
	if (r->diff.count == 0)
		fputs("no changes\n", f);
	else if (dry_run)
		fputs("dry run: nothing was changed\n", f);
	for (size_t i = 0; i < keys; i++)
		print_key(f, &r->keys[i]);
}

/* ---- keys that were made ---- */

struct keeping {
	struct cli_call *call;
	bool printed;
	bool written; /* into the file */
};

static enum err write_keys(FILE *f, const struct admin_policy_result *r)
{
	for (size_t i = 0; i < r->keys_count; i++)
		output_json(f, key_json(&r->keys[i]));
	if (fflush(f) != 0 || ferror(f) != 0 || fsync(fileno(f)) != 0)
		return ERR_IO;
	return ERR_OK;
}

static enum err keep_in_file(const char *name, const struct admin_policy_result *r, char *error)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);

	if (fd < 0)
		return admin_fail(error, ERR_IO, "--keys-file %s: %m; nothing was changed", name);
	FILE *f = fdopen(fd, "w");
	CHECK(f != NULL);
	enum err err = write_keys(f, r);
	if (err != ERR_OK) {
		err = admin_fail(error, err, "--keys-file %s: %m; nothing was changed", name);
		(void)unlink(name);
	}
	fclose(f);
	return err;
}

/* Before the transaction ends: keys that nobody could be shown are not made. */
static enum err keep(const struct admin_policy_result *r, void *arg, char *error)
{
	struct keeping *k = arg;
	const char *name = k->call->options[OPTION_KEYS_FILE];
	FILE *out = k->call->io->out;

	if (name != NULL) {
		enum err err = keep_in_file(name, r, error);
		k->written = err == ERR_OK;
		return err;
	}
	print_result(k->call, r, r->keys_count);
	k->printed = true;
	if (fflush(out) != 0 || ferror(out) != 0)
		return admin_fail(error, ERR_IO, "the keys cannot be written: %m; nothing was changed");
	return ERR_OK;
}

/* ---- the command ---- */

static enum cli_exit apply(struct cli_call *call, const struct admin_policy *want, struct admin_policy_errors *errors)
{
	struct keeping keeping = { .call = call };
	const char *keys_file = call->options[OPTION_KEYS_FILE];
	struct admin_policy_job job = { .want = want,
		                        .prune = call->options[OPTION_PRUNE] != NULL,
		                        .dry_run = call->options[OPTION_DRY_RUN] != NULL,
		                        .keep = keep,
		                        .arg = &keeping };
	char error[ADMIN_ERROR_MAX] = "";
	struct admin_policy_result result;
	struct admin_key_maker maker;

	job.no_maker = key_maker_take(call->settings, &maker);
	job.maker = job.no_maker == NULL ? &maker : NULL;
	enum err err = admin_policy_apply(call->db, &job, errors, &result, error);
	sealer_free(maker.sealer);
	if (err != ERR_OK) {
		/* The end of a transaction whose answer is lost may have come: the file stays. */
		if (keeping.written)
			return cli_refuse(call, "%s; the keys in %s pass only if they are listed by `key list`", error,
			                  keys_file);
		return error[0] == '\0' ? refuse_file(call, errors) : cli_refuse(call, "%s", error);
	}
	if (!keeping.printed)
		print_result(call, &result, 0);
	if (keeping.written && !call->json)
		fprintf(call->io->out, "new keys are in %s: %zu\n", keys_file, result.keys_count);
	admin_policy_result_free(&result);
	return CLI_DONE;
}

enum cli_exit cmd_apply(struct cli_call *call)
{
	const char *name = call->options[OPTION_FILE];
	struct admin_policy_errors *errors = check_calloc(1, sizeof(*errors));
	struct admin_policy want = { 0 };
	enum cli_exit code = CLI_REFUSED;
	char *text = NULL;
	size_t size = 0;

	if (strcmp(name, "-") == 0)
		name = "(standard input)";
	errors->file = name;
	if (read_file(call, name, &text, &size)) {
		policy_file_read(text, size, &want, errors);
		if (call->options[OPTION_PRUNE] != NULL && errors->count == 0)
			check_prune(&want, errors);
		code = errors->count > 0 ? refuse_file(call, errors) : apply(call, &want, errors);
	}
	free(text);
	admin_policy_free(&want);
	free(errors);
	return code;
}
