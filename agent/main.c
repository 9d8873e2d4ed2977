/* artifact-sync: see agent/cli/cmd.h for its commands, agent/node/node.h for the agent. */
#include <jansson.h>

#include "agent/base/alloc.h"
#include "agent/cli/cmd.h"

static void *allocate(size_t size)
{
	return x_calloc(1, size);
}

int main(int argc, char **argv)
{
	json_set_alloc_funcs(allocate, free); /* half an answer would be one, too */
	return cli_main(argc, argv);
}
