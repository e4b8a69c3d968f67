/*
 * A piece of memory that several processes share: made by the parent, handed to its children as an open file, and gone
 * with the last of them. It survives each single process; what lies in it are 64 bit atomics alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Makes zeroed memory of `size` bytes, marked with `layout`, and maps it. *fd (close-on-exec) and *mem are the
 * caller's: shm_unmap() and close(). ERR_IO with errno.
 */
MUST_CHECK enum err shm_make(const char *name, uint32_t layout, size_t size, int *fd, void **mem);

/* Maps what another process made. ERR_VERSION when its layout or size is not the expected one. ERR_IO with errno. */
MUST_CHECK enum err shm_map(int fd, uint32_t layout, size_t size, void **mem);

void shm_unmap(void *mem, size_t size);
