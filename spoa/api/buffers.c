#include "api/buffers.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"

struct buffers {
	pthread_mutex_t lock;
	size_t taken;
	size_t kept;
	uint8_t *free[BUFFERS_KEPT];
};

struct buffers *buffers_new(void)
{
	struct buffers *b = calloc(1, sizeof(*b));

	if (b != NULL)
		pthread_mutex_init(&b->lock, NULL);
	return b;
}

void buffers_free(struct buffers *b)
{
	if (b == NULL)
		return;
	CHECK(b->taken == 0);
	while (b->kept > 0)
		munmap(b->free[--b->kept], BUFFER_SIZE);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* Mapped, not from the heap, which would keep what a hundred uploads had at once. */
uint8_t *buffers_take(struct buffers *b)
{
	uint8_t *buffer = NULL;

	pthread_mutex_lock(&b->lock);
	if (b->kept > 0)
		buffer = b->free[--b->kept];
	b->taken++;
	pthread_mutex_unlock(&b->lock);
	if (buffer != NULL)
		return buffer;
	buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer != MAP_FAILED)
		return buffer;
	pthread_mutex_lock(&b->lock);
	b->taken--;
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

void buffers_give(struct buffers *b, uint8_t *buffer)
{
	if (buffer == NULL)
		return;
	pthread_mutex_lock(&b->lock);
	CHECK(b->taken > 0);
	b->taken--;
	if (b->kept < BUFFERS_KEPT) {
		b->free[b->kept++] = buffer;
		buffer = NULL;
	}
	pthread_mutex_unlock(&b->lock);
	if (buffer != NULL)
		munmap(buffer, BUFFER_SIZE);
}
