/* history_answers.h - what `history` and `restore` say, as JSON: by the agent, or by the command
 * itself while no agent runs. Thread: any. */
#ifndef NODE_HISTORY_ANSWERS_H
#define NODE_HISTORY_ANSWERS_H

#include <jansson.h>

#include "agent/conf/conf.h"
#include "agent/history/restore.h"

/* What the configuration says of owners. @return 0 or -EINVAL */
int history_policy(struct meta_policy *out, const struct conf *conf, struct err *err);

/* The versions of a path, the newest first; NULL with *err. */
json_t *history_answer(struct history *history, struct store *store, const char *path,
		       struct err *err);

/* A request "restore" as an order; release with restore_order_release().
 * @return 0, or -EINVAL with what is wrong with it */
int restore_order_read(struct restore_order *out, const json_t *args, struct err *err);
void restore_order_release(struct restore_order *order);

json_t *restore_answer(const struct restore_result *result);
/* The exit code of a failure and what to do about it. */
int restore_exit_code(int error, const char **remedy);

#endif
