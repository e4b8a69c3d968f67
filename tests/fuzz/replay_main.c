/*
 * Runs a fuzz target over the files of the folders given as arguments, once each, without libFuzzer. A folder that is
 * missing or empty is an error: a replay that replays nothing would hide it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One block of exactly the file's size, so that a sanitizer sees a read past it. */
static int replay_file(const char *path)
{
	struct stat st;
	FILE *file = fopen(path, "rb");
	int result = -1;

	if (file == NULL || fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode)) {
		fprintf(stderr, "cannot read %s\n", path);
		if (file != NULL)
			fclose(file);
		return -1;
	}
	size_t size = (size_t)st.st_size;
	uint8_t *data = malloc(size > 0 ? size : 1);
	if (data != NULL && fread(data, 1, size, file) == size)
		result = 0;
	fclose(file);
	if (result == 0)
		LLVMFuzzerTestOneInput(data, size);
	else
		fprintf(stderr, "cannot read %s\n", path);
	free(data);
	return result;
}

/* The number of files, or -1. */
static long replay_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	long files = 0;

	if (dir == NULL) {
		fprintf(stderr, "cannot open the corpus %s\n", folder);
		return -1;
	}
	while ((entry = readdir(dir)) != NULL) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		int len = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (len < 0 || (size_t)len >= sizeof(path) || replay_file(path) != 0) {
			closedir(dir);
			return -1;
		}
		files++;
	}
	closedir(dir);
	if (files == 0) {
		fprintf(stderr, "the corpus %s is empty\n", folder);
		return -1;
	}
	return files;
}

int main(int argc, char **argv)
{
	long total = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: %s FOLDER...\n", argv[0]);
		return EXIT_FAILURE;
	}
	for (int i = 1; i < argc; i++) {
		long files = replay_folder(argv[i]);

		if (files < 0)
			return EXIT_FAILURE;
		total += files;
	}
	printf("%s: %ld files replayed\n", argv[0], total);
	return EXIT_SUCCESS;
}
