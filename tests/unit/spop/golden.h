/* Reads the files of tests/unit/data/frames: real frames of real HAProxy processes. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static const char *const golden_versions[] = { "2.6.12", "3.0.0", "3.2.0", "3.4.0" };
#define GOLDEN_VERSIONS (sizeof(golden_versions) / sizeof(golden_versions[0]))

struct golden_frame {
	unsigned conn;
	bool from_haproxy;
	char type[32]; /* as the file names it; "EOF" without bytes */
	uint8_t *bytes;
	size_t n;
};

struct golden {
	struct golden_frame *frames;
	size_t n;
};

static inline unsigned golden_hex(char c)
{
	CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

static inline struct golden golden_load(const char *version)
{
	struct golden g = { .frames = check_calloc(4096, sizeof(struct golden_frame)) };
	char path[256];
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	snprintf(path, sizeof(path), "%s/frames/haproxy-%s.txt", TEST_DATA, version);
	FILE *file = fopen(path, "r");
	CHECK(file != NULL);
	while ((len = getline(&line, &size, file)) > 0) {
		CHECK(g.n < 4096);
		struct golden_frame *f = &g.frames[g.n++];
		char side;
		int hex_at = 0;

		if (line[len - 1] == '\n')
			line[--len] = '\0';
		CHECK(sscanf(line, "%u %c %31s %n", &f->conn, &side, f->type, &hex_at) == 3);
		f->from_haproxy = side == '<';
		if (strcmp(f->type, "EOF") == 0)
			continue;
		const char *hex = line + hex_at;
		CHECK(hex_at > 0 && strlen(hex) % 2 == 0);
		f->n = strlen(hex) / 2;
		/* A block of exactly this size: a read past the frame shows under ASan. */
		f->bytes = check_calloc(1, f->n);
		for (size_t i = 0; i < f->n; i++)
			f->bytes[i] = (uint8_t)(golden_hex(hex[2 * i]) << 4 | golden_hex(hex[2 * i + 1]));
	}
	free(line);
	fclose(file);
	return g;
}

static inline void golden_free(struct golden *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->frames[i].bytes);
	free(g->frames);
	g->frames = NULL;
	g->n = 0;
}
