/* init_next.h - what a person reads after init: what there is now, the fingerprint, what to type
 * where. */
#ifndef CLI_INIT_NEXT_H
#define CLI_INIT_NEXT_H

#include "agent/cli/cmd.h"
#include "agent/fs/root_lock.h"
#include "agent/net/tls.h"

struct init_next {
	struct conf *conf; /* owned by who made it */
	char fingerprint[TLS_FINGERPRINT_MAX];
	bool active, adopt;
	bool had_marker;		   /* the tree was a root before */
	char last_holder[ROOT_HOLDER_MAX]; /* whose, as far as somebody left word */
	uint64_t files, bytes;		   /* that the profile wants, in the tree as it is now */
};

void init_next_print(const struct cli *cli, const struct init_next *next);

#endif
