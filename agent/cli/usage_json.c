#include "agent/cli/usage_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/cli/cmd.h"
#include "agent/cli/report.h"

#define SAID_MAX 1024

static int real_stderr = -1;

static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--json") == 0)
			return true;
	}
	return false;
}

/* The first line is what is wrong, the second where to read on. */
static void print(char *said)
{
	const struct cli cli = {.json = true};
	char *line = strstr(said, ": ");
	line = line ? line + 2 : said;
	line[strcspn(line, "\n")] = '\0';
	cli_fail(&cli, EXIT_USAGE, "artifact-sync COMMAND --help explains it", "%s", line);
	fflush(stdout);
}

/* The parser ends the program itself, also after --help, which says nothing on standard error. */
static void on_end(void)
{
	char said[SAID_MAX];
	if (real_stderr < 0)
		return;
	fflush(stderr);
	ssize_t n = pread(STDERR_FILENO, said, sizeof(said) - 1, 0);
	usage_json_end();
	if (n <= 0)
		return;
	said[n] = '\0';
	print(said);
}

void usage_json_begin(int argc, char **argv)
{
	int caught = wants_json(argc, argv) ? memfd_create("usage", MFD_CLOEXEC) : -1;
	if (caught < 0)
		return;
	real_stderr = dup(STDERR_FILENO);
	if (real_stderr >= 0 && (atexit(on_end) != 0 || dup2(caught, STDERR_FILENO) < 0)) {
		close(real_stderr);
		real_stderr = -1;
	}
	close(caught);
}

void usage_json_end(void)
{
	if (real_stderr < 0)
		return;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	real_stderr = -1;
}
