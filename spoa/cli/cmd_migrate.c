#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "store/admin_json.h"
#include "store/migrate.h"

#define SYSTEM_DIR "/usr/share/imgproxy-gateway/migrations"

/*
 * --dir, else the folder beside the program's bin/ folder if there is one (a checkout), or below share/ beside it
 * (wherever `make install` has put it), else the system's.
 */
static const char *find_dir(const struct cli_call *call, char *buf, size_t size)
{
	static const char *const names[] = { "/migrations", "/share/imgproxy-gateway/migrations" };

	if (call->options[0] != NULL)
		return call->options[0];
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(buf, '/');
		if (slash == NULL)
			return SYSTEM_DIR;
		*slash = '\0';
	}
	size_t root = strlen(buf);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int added = snprintf(buf + root, size - root, "%s", names[i]);
		if (added > 0 && (size_t)added < size - root && access(buf, F_OK) == 0)
			return buf;
	}
	return SYSTEM_DIR;
}

static size_t applied_count(const struct migrations *m)
{
	size_t n = 0;

	while (n < m->count && m->items[n].applied_at != NULL)
		n++;
	return n;
}

struct progress {
	struct cli_call *call;
	json_t *applied;
};

static void on_applied(const struct migration *migration, void *arg)
{
	struct progress *p = arg;

	if (p->call->json)
		json_array_append_new(p->applied, json_pack("{s:I, s:o}", "version", (json_int_t)migration->version,
		                                            "name", admin_json_text(migration->name)));
	else
		fprintf(p->call->io->out, "applied %s\n", migration->name);
	fflush(p->call->io->out);
}

enum cli_exit cmd_migrate_up(struct cli_call *call)
{
	char dir[PATH_MAX], error[MIGRATE_ERROR_MAX];
	struct progress progress = { .call = call };
	struct migrations m;

	if (migrations_read(find_dir(call, dir, sizeof(dir)), &m, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	progress.applied = json_array();
	CHECK(progress.applied != NULL);
	if (migrations_up(call->db, &m, on_applied, &progress, error) != ERR_OK) {
		json_decref(progress.applied);
		migrations_free(&m);
		return cli_refuse(call, "%s", error);
	}
	if (call->json)
		output_json(call->io->out, json_pack("{s:I, s:O}", "version", (json_int_t)applied_count(&m), "applied",
		                                     progress.applied));
	else
		fprintf(call->io->out, "the schema is up to date, at version %zu\n", applied_count(&m));
	json_decref(progress.applied);
	migrations_free(&m);
	return CLI_DONE;
}

static void status_json(struct cli_call *call, const struct migrations *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->count; i++)
		json_array_append_new(list, json_pack("{s:I, s:o, s:o}", "version", (json_int_t)m->items[i].version,
		                                      "name", admin_json_text(m->items[i].name), "applied_at",
		                                      admin_json_text(m->items[i].applied_at)));
	output_json(call->io->out, json_pack("{s:I, s:I, s:o}", "version", (json_int_t)applied_count(m), "latest",
	                                     (json_int_t)m->count, "migrations", list));
}

static void status_table(struct cli_call *call, const struct migrations *m)
{
	static const char *const heads[] = { "MIGRATION", "STATE", "APPLIED" };
	const char **cells = check_calloc(m->count, 3 * sizeof(char *));

	for (size_t i = 0; i < m->count; i++) {
		cells[i * 3] = m->items[i].name;
		cells[i * 3 + 1] = m->items[i].applied_at != NULL ? "applied" : "pending";
		cells[i * 3 + 2] = m->items[i].applied_at;
	}
	output_table(call->io->out, 3, heads, cells, m->count);
	free(cells);
}

enum cli_exit cmd_migrate_status(struct cli_call *call)
{
	char dir[PATH_MAX], error[MIGRATE_ERROR_MAX];
	struct migrations m;

	if (migrations_read(find_dir(call, dir, sizeof(dir)), &m, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (migrations_status(call->db, &m, error) != ERR_OK) {
		migrations_free(&m);
		return cli_refuse(call, "%s", error);
	}
	if (call->json)
		status_json(call, &m);
	else
		status_table(call, &m);
	migrations_free(&m);
	return CLI_DONE;
}
