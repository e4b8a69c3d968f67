/* gateway-api: takes uploads from HAProxy and stores them where the image servers read. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/pool.h"
#include "api/reload.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/privileges.h"
#include "base/program.h"
#include "base/settings.h"
#include "io/listener.h"
#include "io/pg.h"

/* The proxy's group may connect. */
#define SOCKET_MODE 0660
#define UMASK       0027
/* Where the file system knows no locks. */
#define LEFTOVER_AGE_S 3600
/* The proxy ends silent clients itself; this comes after it. */
#define IDLE_EXTRA_S 10
/* The proxy ends a body that pauses; this ends one that drips. An hour of a slow mobile network passes. */
#define BODY_GRACE_MS    30000
#define BODY_RATE        4096
#define UNIX_PREFIX      "unix@"
#define UNIX_PREFIX_SIZE (sizeof(UNIX_PREFIX) - 1)

static const char usage[] =
        "usage: gateway-api [--config FILE] [--check-config] [--version] [--help]\n"
        "\n"
        "Takes uploads from the gateway's HAProxy and stores them for the image servers.\n"
        "\n"
        "  --config FILE    settings (else $GATEWAY_CONFIG, else var/gateway.yaml of the checkout,\n"
        "                   else /etc/imgproxy-gateway/config.yaml)\n"
        "  --check-config   read the settings, say ok or what is wrong, and exit\n"
        "  --version        print the version and exit\n"
        "  --help           print this and exit\n"
        "\n"
        "Signals: SIGTERM ends it when the requests under way are done; SIGHUP reads the settings again and\n"
        "takes log.level and log.format from them.\n";

/* The signals are waited for by main() alone; every thread inherits the mask. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static bool stop_is_asked(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

/* As root: becomes agent.user, who also gets the socket file. */
static enum err give_up_root(const struct settings *s, const struct privileges *owner)
{
	if (owner == NULL)
		return ERR_OK;
	if (strncmp(s->api_bind, UNIX_PREFIX, UNIX_PREFIX_SIZE) == 0 &&
	    lchown(s->api_bind + UNIX_PREFIX_SIZE, owner->uid, owner->gid) != 0) {
		log_error("api.bind: %s: %s", s->api_bind, strerror(errno));
		return ERR_IO;
	}
	enum err err = privileges_drop(owner);
	if (err != ERR_OK)
		log_error("agent.user: cannot become %s: %s", s->agent_user, strerror(errno));
	return err;
}

static enum err open_uploads(struct uploads *uploads, const struct settings *s)
{
	const struct uploads_rules rules = {
		.dir = s->uploads_dir,
		.pepper = s->auth_key_pepper,
		.max_size = (uint64_t)s->uploads_max_size,
		.max_pixels = (uint64_t)s->uploads_max_pixels,
		.max_ratio = (uint32_t)s->images_max_ratio,
		.allow_svg = s->uploads_allow_svg,
		/* The process before this one may still finish uploads. */
		.settle_ns = clock_mono_ns() + (uint64_t)s->agent_drain_timeout * NS_PER_MS,
	};

	enum err err = uploads_open(uploads, &rules);
	if (err != ERR_OK)
		log_error("uploads.dir: %s: %s", s->uploads_dir, err == ERR_IO ? strerror(errno) : err_str(err));
	return err;
}

/* At most so many statements at once, whatever the setting allows. */
static enum err open_pool(struct pool **pool, const struct settings *s)
{
	enum err err = pool_new(pool, s->database_dsn, (unsigned)s->database_max_connections);

	if (err != ERR_OK)
		log_error("cannot start the threads that wait for the database");
	return err;
}

static void serve(struct server *server, const struct settings *s, const struct uploads *uploads, const sigset_t *set,
                  const char *config)
{
	int sig;

	log_info("ready: bind=%s uploads=%s", s->api_bind, s->uploads_dir);
	size_t removed = parts_clean(uploads->dir_fd, clock_real_s() - LEFTOVER_AGE_S, stop_is_asked);
	if (removed > 0)
		log_info("uploads: removed %zu leftovers of interrupted uploads", removed);
	while (sigwait(set, &sig) == 0 && sig == SIGHUP)
		reload_log(config, s);
	log_info("stopping: signal=%s", sig == SIGTERM ? "TERM" : "INT");
	/* Now, not at the end: by then the file may belong to the process that comes after this one. */
	listener_unlink(s->api_bind);
	if (server_drain(server, (uint64_t)s->agent_drain_timeout) != ERR_OK)
		log_warn("stopping: some requests were not finished within agent.drain_timeout");
}

static int run(const struct settings *s, const char *config)
{
	char error[512];
	struct uploads uploads = { .dir_fd = -1 };
	const struct privileges *owner;
	struct privileges found;
	struct server *server = NULL;
	struct pool *pool = NULL;
	sigset_t set;
	int fd = -1;
	int status = 1;

	if (privileges_choose(s->agent_user, &found, &owner) != ERR_OK)
		return 1;
	umask(UMASK);
	block_signals(&set);
	if (listener_open(s->api_bind, SOCKET_MODE, &fd, error, sizeof(error)) != ERR_OK) {
		log_error("api.bind: %s", error);
		return 1;
	}
	if (give_up_root(s, owner) != ERR_OK)
		goto out;
	if (open_uploads(&uploads, s) != ERR_OK || open_pool(&pool, s) != ERR_OK)
		goto out;
	struct rest_db_env db = { .settings = s, .pool = pool };
	struct request_env env = { .uploads = &uploads,
		                   .db = &db,
		                   .token = s->api_token,
		                   .body_grace_ms = BODY_GRACE_MS,
		                   .body_rate = BODY_RATE };
	unsigned idle_s = (unsigned)(s->server_read_timeout / 1000) + IDLE_EXTRA_S;
	if (server_new(&server, fd, &env, idle_s) != ERR_OK) {
		log_error("cannot start the HTTP server");
		goto out;
	}
	fd = -1;
	serve(server, s, &uploads, &set, config);
	status = 0;
out:
	/* Before the server: it must not end while a request waits for the pool. */
	pool_close(pool);
	server_free(server);
	pool_free(pool);
	uploads_close(&uploads);
	if (status == 0)
		log_info("stopped");
	if (fd >= 0) {
		close(fd);
		listener_unlink(s->api_bind);
	}
	return status;
}

/* What it cannot do without. */
static enum err check_settings(const struct settings *s, char *error)
{
	char where[SETTINGS_ERROR_MAX / 2], why[SETTINGS_ERROR_MAX / 2];

	if (s->auth_key_pepper[0] == '\0') {
		snprintf(error, SETTINGS_ERROR_MAX, "%s: must be set",
		         settings_where(s, "auth.key_pepper", where, sizeof(where)));
		return ERR_INVALID;
	}
	if (pg_check_dsn(s->database_dsn, why, sizeof(why)) != ERR_OK) {
		snprintf(error, SETTINGS_ERROR_MAX, "%s: %s", settings_where(s, "database.dsn", where, sizeof(where)),
		         why);
		return ERR_INVALID;
	}
	return ERR_OK;
}

int main(int argc, char **argv)
{
	struct program_options options;
	struct settings settings;
	char error[SETTINGS_ERROR_MAX];

	int status = program_options(argc, argv, "gateway-api", usage, NULL, 0, &options);
	if (status >= 0)
		return status;
	if (settings_load(&settings, options.config, error) != ERR_OK) {
		fprintf(stderr, "gateway-api: %s\n", error);
		return 1;
	}
	if (check_settings(&settings, error) != ERR_OK) {
		fprintf(stderr, "gateway-api: %s\n", error);
		settings_free(&settings);
		return 1;
	}
	if (options.check) {
		puts("ok");
		settings_free(&settings);
		return 0;
	}
	log_init("gateway-api", (enum log_level)settings.log_level, settings_log_format(&settings));
	status = run(&settings, options.config);
	settings_free(&settings);
	return status;
}
