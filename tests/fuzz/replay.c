/* Runs a fuzz target over the files of a directory: the corpus as an ordinary test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *dir, const char *name)
{
	static uint8_t data[1 << 20];
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "rb");
	if (!f) {
		perror(path);
		exit(1);
	}
	size_t len = fread(data, 1, sizeof(data), f);
	fclose(f);
	printf("%s: %zu bytes\n", name, len);
	fflush(stdout); /* names the culprit when the target aborts */
	LLVMFuzzerTestOneInput(data, len);
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	if (!dir) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	size_t n = 0;
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		replay(argv[1], entry->d_name);
		n++;
	}
	closedir(dir);
	return n > 0 ? 0 : 1;
}
