/* drill_internal.h - shared by drill*.c only. Thread: the loop, except where marked. */
#ifndef NODE_DRILL_INTERNAL_H
#define NODE_DRILL_INTERNAL_H

#include "agent/base/err.h"
#include "agent/node/drill.h"
#include "agent/ops/drill_report.h"

struct drill;

struct drills {
	struct drill *running;
	struct drill_record record;
	bool sweeping;
};

/* drill.c. Removes every clone there is; on a worker. */
int drills_clear(const struct node *node, struct err *err);

/* drill_keep.c */
void drills_take_record(struct drills *drills, struct drill_record *record); /* takes it */
void drills_record_request(struct node *node, struct control_call *call, const json_t *args);

#endif
