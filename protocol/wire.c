#include "protocol/wire.h"

#include <string.h>

static const struct wire_rule rules[] = {
#define X(name, id, phase, sender, limit) {#name, id, phase, sender, limit},
	WIRE_MESSAGES(X)
#undef X
};

#define X(name, id, phase, sender, limit) \
	static_assert((limit) <= WIRE_FRAME_MAX, #name " is larger than a frame may be");
WIRE_MESSAGES(X)
#undef X

static const struct {
	uint16_t reason;
	const char *name;
} reasons[] = {
	{BYE_SHUTDOWN, "shutdown"},
	{BYE_VERSION, "version"},
	{BYE_GROUP, "group"},
	{BYE_SELF, "self"},
	{BYE_UNKNOWN_PEER, "unknown-peer"},
	{BYE_MALFORMED, "malformed"},
	{BYE_OUT_OF_PHASE, "out-of-phase"},
	{BYE_OVERSIZED, "oversized"},
	{BYE_TIMEOUT, "timeout"},
	{BYE_ROLE, "role"},
	{BYE_LINEAGE, "lineage"},
	{BYE_UNRELATED, "unrelated"},
	{BYE_SPLIT, "split"},
	{BYE_REPLACED, "replaced"},
	{BYE_INTERNAL, "internal"},
	{BYE_NOT_ADOPTED, "not-adopted"},
	{BYE_PROBED, "probed"},
};

const struct wire_rule *wire_rules(size_t *n)
{
	*n = sizeof(rules) / sizeof(rules[0]);
	return rules;
}

const struct wire_rule *wire_rule(uint8_t type)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].type == type)
			return &rules[i];
	}
	return NULL;
}

const char *wire_reason_name(uint16_t reason)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].reason == reason)
			return reasons[i].name;
	}
	return "unknown";
}

bool wire_name_is_legal(const char *name)
{
	size_t len = strlen(name);
	if (len == 0 || len > WIRE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] > '~' || strchr("\"'/\\", name[i]))
			return false;
	}
	return true;
}
