#include "agent/cli/history_offline.h"

#include <errno.h>
#include <string.h>

#include "agent/base/quote.h"
#include "agent/node/history_answers.h"

struct offline {
	struct conf *conf;
	struct store *store;
	struct tree *tree;
	struct history *history;
};

static int open_all(struct offline *o, struct err *err)
{
	const struct conf *conf = o->conf;
	uint8_t ids[ROOT_MAX][ROOT_ID_LEN];
	int r = store_open(&o->store, conf->state_dir, err);
	if (r == 0)
		r = store_root_ids(o->store, conf->follow, conf->n_follow, ids, ROOT_MAX, err);
	const struct tree_claim claim = {.ids = (const uint8_t(*)[ROOT_ID_LEN])ids};
	if (r == 0)
		r = tree_open(&o->tree, conf->tree, conf->follow, conf->n_follow, &claim, err);
	if (r < 0)
		return r;
	const struct history_keep keep = {conf->history_keep_days, conf->history_keep_bytes};
	o->history = history_new(o->store, o->tree, &keep);
	return 0;
}

static void close_all(struct offline *o)
{
	history_free(o->history);
	tree_free(o->tree);
	store_close(o->store);
}

static int list(struct offline *o, const json_t *request, json_t **result, struct err *err)
{
	AUTO_FREE char *path = unquote_utf8(json_string_value(json_object_get(request, "path")));
	*result = history_answer(o->history, o->store, path ? path : "", err);
	return *result ? EXIT_DONE : err->code;
}

static int restore(struct offline *o, const json_t *request, json_t **result, struct err *err)
{
	struct restore_order order;
	struct restore_progress progress = {0};
	struct restore_result done = {0};
	int r = restore_order_read(&order, request, err);
	order.history = o->history;
	order.store = o->store;
	order.tree = o->tree;
	if (r == 0)
		r = history_policy(&order.policy, o->conf, err);
	if (r == 0)
		r = restore_run(&done, &order, &progress, err);
	if (r == 0) {
		*result = restore_answer(&done);
		r = done.n_failures == 0 && (order.version || done.digest_matches) ? EXIT_DONE
										   : EXIT_NO;
	}
	restore_result_release(&done);
	restore_order_release(&order);
	return r;
}

static int answer(const struct cli *cli, struct offline *o, const json_t *request, json_t **result)
{
	struct err err = {0};
	const char *verb = json_string_value(json_object_get(request, "verb"));
	const char *remedy = NULL;
	int r = open_all(o, &err);
	if (r == 0)
		r = strcmp(verb, "history") == 0 ? list(o, request, result, &err)
						 : restore(o, request, result, &err);
	else if (r == -EACCES)
		remedy = "Run the command with sudo, or as the user that the agent runs as.";
	if (r >= 0)
		return r;
	int code = remedy ? EXIT_NO : restore_exit_code(r, &remedy);
	return cli_fail(cli, code, remedy, "%s", err.msg);
}

int history_ask(const struct cli *cli, const struct question *question, json_t **result)
{
	struct offline o = {0};
	*result = NULL;
	AUTO(conf) *conf = NULL;
	int code = cli_load(cli, &conf);
	if (code == EXIT_DONE && control_is_running(conf->state_dir, NULL) != 0)
		return cli_ask(cli, question, result);
	if (code == EXIT_DONE) {
		o.conf = conf;
		code = answer(cli, &o, question->request, result);
		close_all(&o);
	}
	json_decref(question->request);
	return code;
}

json_t *history_path(const struct conf *conf, const char *typed)
{
	size_t len = strlen(conf->tree);
	if (strncmp(typed, conf->tree, len) == 0 && (typed[len] == '/' || typed[len] == '\0')) {
		typed += len;
		while (*typed == '/')
			typed++;
	}
	return control_path(typed);
}
