/*
 * The commands of one transaction (io/redis.h), encoded in the caller's memory as they go out (RESP), without
 * allocation. One that does not fit makes the batch fail, and redis_transaction() then refuses it.
 *
 *     redis_batch_init(&b);
 *     redis_batch_command(&b, 3);
 *     redis_batch_word(&b, SV("INCRBY")); redis_batch_word(&b, key); redis_batch_int(&b, 7);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sv.h"

#define REDIS_BATCH_COMMANDS 16
#define REDIS_BATCH_BYTES    2048

struct redis_batch {
	bool failed;
	unsigned words; /* that the last command still needs */
	size_t count;
	size_t n;
	size_t starts[REDIS_BATCH_COMMANDS];
	char buf[REDIS_BATCH_BYTES];
};

void redis_batch_init(struct redis_batch *b);
/* Begins a command of `words` words, its name included. */
void redis_batch_command(struct redis_batch *b, unsigned words);
void redis_batch_word(struct redis_batch *b, struct sv word);
void redis_batch_int(struct redis_batch *b, int64_t n);

/* Whether it can be sent: there is a command, all are complete, and everything had room. */
bool redis_batch_ok(const struct redis_batch *b);
/* Command i as bytes. */
struct sv redis_batch_at(const struct redis_batch *b, size_t i);
