/* profile_rules.h - the rules that ship with the program: what of a WSO2 Identity Server is
 * replicated and how. Data only; profile.c reads it. */
#ifndef CONF_PROFILE_RULES_H
#define CONF_PROFILE_RULES_H

#include <stddef.h>
#include <stdint.h>

/* Order of publishing within a batch. Keys before what is encrypted with them is hard: a user store
 * that is deployed with the wrong key is not tried again until its mtime changes. Streams before
 * publishers only saves the server from parking them. Archives last: unpacking them takes longest.
 */
enum order_class {
	ORDER_KEYS,
	ORDER_SETTINGS,
	ORDER_STREAMS,
	ORDER_PUBLISHERS,
	ORDER_USER_STORES,
	ORDER_TENANTS,
	ORDER_OTHER,
	ORDER_ARCHIVES = 9,
};

struct profile_attribute {
	const char *pattern; /* NULL ends a list */
	unsigned bits;	     /* GATE_*, RULE_*, or an order class */
};

struct profile_layer {
	const char *name;	  /* NULL ends the list */
	const char *of;		  /* the base it belongs to; NULL for a base */
	const char *const *first; /* judged before the sub-profiles' rules; NULL: none */
	const char *const *rules;
	const struct profile_attribute *attributes; /* NULL: none of its own */
	uint8_t max_delete;
	const char *help;
};

#define PROFILE_LAYERS_MAX 8
extern const struct profile_layer profile_layers[PROFILE_LAYERS_MAX];
extern const struct profile_attribute profile_order_classes[];

/* The layer called name[0..len) that belongs to base `of`; NULL when there is none. */
const struct profile_layer *profile_layer_find(const char *name, size_t len, const char *of);

#endif
