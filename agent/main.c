/* artifact-sync: see agent/cli/cmd.h for its commands, agent/node/node.h for the agent. */
#include "agent/cli/cmd.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
