/* gateway-agent: the verdict for every request, over SPOP. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/parent.h"
#include "agent/sockets.h"
#include "base/log.h"
#include "base/privileges.h"
#include "base/program.h"
#include "base/settings.h"
#include "base/sv.h"
#include "imgurl/sign.h"
#include "io/addr.h"
#include "io/pg.h"
#include "io/redis_tls.h"

static const char usage[] =
        "usage: gateway-agent [--config FILE] [--check-config] [--version] [--help]\n"
        "\n"
        "Answers HAProxy's SPOE engine with a verdict for every request.\n"
        "\n"
        "  --config FILE    settings (else $GATEWAY_CONFIG, else var/gateway.yaml of the checkout,\n"
        "                   else /etc/imgproxy-gateway/config.yaml)\n"
        "  --check-config   read the settings, say ok or what is wrong, and exit\n"
        "  --version        print the version and exit\n"
        "  --help           print this and exit\n"
        "\n"
        "Signals: SIGTERM ends it quietly, a second one at once; SIGHUP starts new processes with the\n"
        "present program and settings, and keeps the old ones if the new do not become ready.\n";

/* For the program's own use: what a child is, see child.h. */
struct child_options {
	const char *role; /* NULL: this is the parent */
	uint64_t index;
	uint64_t slot;
};

/* The exit status, or -1 to go on. */
static int options_parse(int argc, char **argv, struct program_options *out, struct child_options *child)
{
	const char *index = "0";
	const char *slot = "0";
	const struct program_extra extra[] = { { "child", &child->role }, { "index", &index }, { "slot", &slot } };

	int status = program_options(argc, argv, "gateway-agent", usage, extra, 3, out);
	if (status < 0 && (sv_to_u64(sv_str(index), &child->index) != ERR_OK || child->index >= AGENT_WORKERS_MAX ||
	                   sv_to_u64(sv_str(slot), &child->slot) != ERR_OK || child->slot >= AGENT_SLOTS)) {
		fputs(usage, stderr);
		return 2;
	}
	return status;
}

static enum err refuse(const struct settings *s, const char *name, const char *why, char *error)
{
	char where[SETTINGS_ERROR_MAX / 2];

	snprintf(error, SETTINGS_ERROR_MAX, "%s: %s", settings_where(s, name, where, sizeof(where)), why);
	return ERR_INVALID;
}

/* What the agent cannot do without. */
static enum err check_settings(const struct settings *s, char *error)
{
	char why[SETTINGS_ERROR_MAX / 2];
	struct agent_sockets sockets;
	struct imgurl_key key;
	struct redis_tls *tls;
	struct addr addr;

	if (s->auth_key_pepper[0] == '\0')
		return refuse(s, "auth.key_pepper", "must be set", error);
	/* Tried one by one, so that the error names the right one. */
	if (imgurl_key_hex(&key, s->imgproxy_key, "00") != ERR_OK)
		return refuse(s, "imgproxy.key", "must be set, in hex", error);
	if (imgurl_key_hex(&key, "00", s->imgproxy_salt) != ERR_OK)
		return refuse(s, "imgproxy.salt", "must be set, in hex", error);
	imgurl_key_clear(&key);
	if (pg_check_dsn(s->database_dsn, why, sizeof(why)) != ERR_OK)
		return refuse(s, "database.dsn", why, error);
	if (s->redis_addr[0] != '\0' && addr_parse(s->redis_addr, &addr, why, sizeof(why)) != ERR_OK)
		return refuse(s, "redis.addr", why, error);
	if (s->redis_tls && redis_tls_missing() != NULL)
		return refuse(s, "redis.tls", redis_tls_missing(), error);
	if (s->redis_tls && s->redis_addr[0] != '\0') {
		if (addr.is_unix)
			return refuse(s, "redis.tls", "a unix socket has no TLS", error);
		if (redis_tls_new(addr.host, s->redis_tls_ca, &tls, why, sizeof(why)) != ERR_OK)
			return refuse(s, "redis.tls_ca", why, error);
		redis_tls_free(tls);
	}
	if (s->server_tls_port != 0 && s->server_tls_certificate[0] == '\0')
		return refuse(s, "server.tls_certificate", "must be set, with server.tls_port", error);
	if (agent_sockets_parse(s, &sockets, why, sizeof(why)) != ERR_OK)
		return refuse(s, "agent.spop_bind", why, error);
	return ERR_OK;
}

static int run_child(const struct child_options *child, const struct settings *settings)
{
	static char name[32];

	if (strcmp(child->role, "keeper") == 0) {
		log_init("gateway-agent/keeper", (enum log_level)settings->log_level, settings_log_format(settings));
		return keeper_run(settings, (unsigned)child->slot);
	}
	snprintf(name, sizeof(name), "gateway-agent/verdict-%u", (unsigned)child->index + 1);
	log_init(name, (enum log_level)settings->log_level, settings_log_format(settings));
	return verdict_run(settings, (unsigned)child->index, (unsigned)child->slot);
}

static enum err make_state_dir(const struct settings *s, const struct privileges *owner)
{
	const char *dir = s->agent_state_dir;

	if (mkdir(dir, 0750) == 0 && owner != NULL && lchown(dir, owner->uid, owner->gid) != 0) {
		log_error("agent.state_dir: %s: %s", dir, strerror(errno));
		return ERR_IO;
	}
	struct stat st;
	if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
		log_error("agent.state_dir: %s: %s", dir, errno == 0 ? "is no folder" : strerror(errno));
		return ERR_IO;
	}
	return ERR_OK;
}

/* The keeper of an agent that was killed still takes what is in its sockets, for some hundredths of a second. */
static enum err open_sockets(const struct settings *settings, const struct privileges *owner,
                             struct agent_sockets *sockets, char *error, size_t error_size)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000000 };
	enum err err = ERR_EXISTS;

	for (int tries = 0; tries < 20 && err == ERR_EXISTS; tries++) {
		if (tries > 0)
			nanosleep(&pause, NULL);
		err = agent_sockets_open(settings, owner, sockets, error, error_size);
	}
	return err;
}

static int run_parent(const char *config, struct settings *settings)
{
	char program[PATH_MAX];
	char error[512];
	struct privileges found;
	const struct privileges *owner;
	struct agent_sockets sockets;

	/* Children are started from the path, not from the file that runs: it may be a newer one by then. */
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (n <= 0) {
		log_error("cannot find the program's own path: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	program[n] = '\0';
	umask(0027);
	if (privileges_choose(settings->agent_user, &found, &owner) != ERR_OK ||
	    make_state_dir(settings, owner) != ERR_OK)
		return EXIT_FAILURE;
	if (agent_sockets_parse(settings, &sockets, error, sizeof(error)) != ERR_OK ||
	    open_sockets(settings, owner, &sockets, error, sizeof(error)) != ERR_OK) {
		log_error("%s", error);
		return EXIT_FAILURE;
	}
	int code = EXIT_FAILURE;
	if (owner != NULL && privileges_drop(owner) != ERR_OK)
		log_error("agent.user: cannot become %s: %s", owner->name, strerror(errno));
	else if (access(settings->agent_state_dir, R_OK | W_OK | X_OK) != 0)
		log_error("agent.state_dir: %s: %s", settings->agent_state_dir, strerror(errno));
	else
		code = parent_run(program, config, settings, &sockets);
	agent_sockets_close(&sockets);
	return code;
}

int main(int argc, char **argv)
{
	struct program_options options;
	struct child_options child = { NULL, 0, 0 };
	struct settings settings;
	char error[SETTINGS_ERROR_MAX];

	int code = options_parse(argc, argv, &options, &child);
	if (code >= 0)
		return code;
	enum err err = child.role != NULL && options.config != NULL
	                       ? settings_load_passed(&settings, options.config, error)
	                       : settings_load(&settings, options.config, error);
	if (err == ERR_OK)
		err = check_settings(&settings, error);
	if (err != ERR_OK) {
		fprintf(stderr, "gateway-agent: %s\n", error);
		settings_free(&settings);
		return EXIT_FAILURE;
	}
	if (options.check) {
		puts("ok");
		code = EXIT_SUCCESS;
	} else {
		log_init("gateway-agent", (enum log_level)settings.log_level, settings_log_format(&settings));
		code = child.role != NULL ? run_child(&child, &settings) : run_parent(options.config, &settings);
	}
	settings_free(&settings);
	return code;
}
