/* hash_table.h - uthash, as it is used here: without memory it ends the program with a word, as all
 * else does, where uthash by itself would end it in silence. Include this, never <uthash.h>. */
#ifndef BASE_HASH_TABLE_H
#define BASE_HASH_TABLE_H

#include "agent/base/alloc.h"

#define uthash_malloc(size) x_calloc(1, size)
#define uthash_free(memory, size) free(memory)

#include <uthash.h>

#endif
