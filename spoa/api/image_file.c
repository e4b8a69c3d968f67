#include "api/image_file.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/image_svg.h"

#define SECOND_WINDOW (UINT64_C(64) * 1024)

static enum err read_window(int fd, uint8_t *to, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t got = pread(fd, to + at, n - at, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			errno = got == 0 ? EIO : errno;
			return ERR_IO;
		}
		at += (size_t)got;
	}
	return ERR_OK;
}

static enum err probe(const uint8_t *data, size_t n, uint64_t size, unsigned flags, struct image_info *out,
                      const char **why)
{
	bool known_svg = (flags & IMAGE_FILE_KNOWN) != 0 && out->type == IMAGE_SVG;

	if (known_svg)
		return image_svg_check(data, n, true, out, why);
	enum err err = image_probe(data, n, size, out);
	if (err != ERR_UNSUPPORTED || !image_svg_matches(data, n))
		return err;
	if ((flags & IMAGE_FILE_SVG) == 0) {
		*why = "SVG images are not taken here.";
		return ERR_UNSUPPORTED;
	}
	if (size > IMAGE_FILE_WINDOW)
		return ERR_RANGE;
	return n < size ? ERR_INCOMPLETE : image_svg_check(data, n, false, out, why);
}

/*
 * The window is private memory, not a mapping of the file: that would kill the process when somebody cuts the file off
 * meanwhile, and would not come back to the system as surely as this does.
 */
static enum err probe_window(int fd, uint64_t size, size_t n, unsigned flags, struct image_info *out, const char **why)
{
	uint8_t *window = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (window == MAP_FAILED)
		return ERR_IO;
	enum err err = read_window(fd, window, n);
	if (err == ERR_OK)
		err = probe(window, n, size, flags, out, why);
	int saved = errno;
	munmap(window, n);
	errno = saved;
	return err;
}

static size_t cut_to(uint64_t size, uint64_t most)
{
	return (size_t)(size < most ? size : most);
}

static bool wants_more(enum err err, const struct image_info *image, unsigned flags)
{
	return err == ERR_INVALID || err == ERR_INCOMPLETE ||
	       (err == ERR_OK && image->cut && (flags & IMAGE_FILE_COUNT) != 0);
}

enum err image_file_probe(int fd, uint64_t size, const uint8_t *first, unsigned flags, struct image_info *out,
                          const char **why, uint64_t *looked_at)
{
	static const uint64_t windows[] = { SECOND_WINDOW, IMAGE_FILE_WINDOW };
	uint8_t read[IMAGE_FILE_FIRST];
	size_t n = cut_to(size, sizeof(read));
	enum err err = ERR_OK;

	*why = NULL;
	if (size == 0)
		return ERR_UNSUPPORTED;
	if (first == NULL)
		err = read_window(fd, read, n);
	*looked_at += n;
	if (err == ERR_OK)
		err = probe(first != NULL ? first : read, n, size, flags, out, why);
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]) && n < cut_to(size, windows[i]); i++) {
		if (!wants_more(err, out, flags))
			break;
		n = cut_to(size, windows[i]);
		*looked_at += n;
		*why = NULL;
		err = probe_window(fd, size, n, flags, out, why);
	}
	return err;
}
