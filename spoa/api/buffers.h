/*
 * Buffers of uploads under way: a file system takes one large piece at far less cost than many small ones. All of one
 * size, and some that were given back wait for the next upload; the others go back to the system at once. Any thread
 * may call.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SIZE (size_t)(256 * 1024)
/* As many as there are threads that fill them; more under way at once are mapped for the time. */
#define BUFFERS_KEPT 16

struct buffers;

/* NULL: no memory. */
struct buffers *buffers_new(void);

/* Every buffer must be back. NULL is allowed. */
void buffers_free(struct buffers *b);

/* BUFFER_SIZE bytes, with whatever is in them. NULL: no memory. */
uint8_t *buffers_take(struct buffers *b);

/* NULL is allowed. */
void buffers_give(struct buffers *b, uint8_t *buffer);
