/* salvage_private.h - shared by salvage.c (finding, giving back, removing), salvage_put.c and
 * salvage_manifest.c. Nobody else includes it. */
#ifndef SYNC_SALVAGE_PRIVATE_H
#define SYNC_SALVAGE_PRIVATE_H

#include "agent/sync/salvage.h"

/* NULL when it is not in the configuration. */
const struct root *salvage_root(const struct tree *tree, const char *at);

/* Makes salvage/<id>.json, durable in itself; its name is by the next sync of the directory. One
 * that is there is written anew. */
int salvage_write_manifest(const struct root *root, const struct salvage_row *row, struct err *err);

/* Manifest, directory (if it is empty) and row: the object itself is elsewhere already. */
int salvage_forget(struct store *store, const struct root *root, const struct salvage_row *row,
		   struct err *err);

#endif
