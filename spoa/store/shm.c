#include "store/shm.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* In front of the memory, as long as two cache lines so that the user's part stays aligned. */
struct header {
	uint64_t magic;
	uint64_t size;
	uint32_t layout;
	uint32_t unused[27];
};
#define MAGIC UINT64_C(0x6967772d73686d31)

_Static_assert(sizeof(struct header) == 128, "the memory behind the header is aligned");

enum err shm_make(const char *name, uint32_t layout, size_t size, int *fd, void **mem)
{
	const size_t total = sizeof(struct header) + size;
	int file = memfd_create(name, MFD_CLOEXEC);

	if (file < 0)
		return ERR_IO;
	struct header *h = MAP_FAILED;
	if (ftruncate(file, (off_t)total) == 0)
		h = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (h == MAP_FAILED) {
		int saved = errno;
		close(file);
		errno = saved;
		return ERR_IO;
	}
	*h = (struct header){ .magic = MAGIC, .size = size, .layout = layout };
	*fd = file;
	*mem = h + 1;
	return ERR_OK;
}

enum err shm_map(int fd, uint32_t layout, size_t size, void **mem)
{
	const size_t total = sizeof(struct header) + size;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return ERR_IO;
	if (st.st_size != (off_t)total)
		return ERR_VERSION;
	struct header *h = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		return ERR_IO;
	if (h->magic != MAGIC || h->size != size || h->layout != layout) {
		munmap(h, total);
		return ERR_VERSION;
	}
	*mem = h + 1;
	return ERR_OK;
}

void shm_unmap(void *mem, size_t size)
{
	struct header *h = (struct header *)mem - 1;

	munmap(h, sizeof(*h) + size);
}
