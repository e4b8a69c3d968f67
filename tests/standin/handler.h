/* One HTTP request to the stand-in: routes, conditions, headers. */
#pragma once

#include <microhttpd.h>
#include <semaphore.h>

#include "config.h"

#define SERVER_NAME "imgproxy-standin"

/* What all requests share; set up once. */
struct standin {
	const struct config *config;
	int root_fd;  /* IMGPROXY_LOCAL_FILESYSTEM_ROOT; -1: no local sources */
	sem_t *slots; /* images in progress */
};

/* Answers a request whose body, if any, has been read. `target` is the raw request target. May block. */
enum MHD_Result handle(const struct standin *s, struct MHD_Connection *conn, const char *method, const char *target);
