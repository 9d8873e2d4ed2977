#include "agent/conf/profile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/hash.h"
#include "agent/base/quote.h"
#include "agent/conf/glob.h"
#include "agent/conf/profile_rules.h"
#include "agent/conf/set_name.h"
#include "protocol/relpath.h"

struct rule {
	char sign; /* '+', '-' or '=' */
	struct glob *glob;
	char *set; /* name as written; NULL: none */
};

struct attribute {
	struct glob *glob;
	unsigned bits;
};

struct profile {
	struct rule *rules;
	size_t n_rules, rules_cap;
	bool has_sets;
	struct attribute *attributes; /* every one that matches adds its bits */
	size_t n_attributes, attributes_cap;
	struct attribute *classes; /* the first that matches says the order */
	size_t n_classes, classes_cap;
	unsigned allowed; /* attribute bits that may be given */
	uint8_t max_delete;
	struct buf text; /* ended by NUL */
};

void profile_free(struct profile *profile)
{
	if (!profile)
		return;
	for (size_t i = 0; i < profile->n_rules; i++) {
		glob_free(profile->rules[i].glob);
		free(profile->rules[i].set);
	}
	for (size_t i = 0; i < profile->n_attributes; i++)
		glob_free(profile->attributes[i].glob);
	for (size_t i = 0; i < profile->n_classes; i++)
		glob_free(profile->classes[i].glob);
	free(profile->rules);
	free(profile->attributes);
	free(profile->classes);
	buf_release(&profile->text);
	free(profile);
}

static bool is_ours(const char *path)
{
	size_t own = strlen(RELPATH_OWN_DIR);
	for (const char *c = path; c; c = strchr(c, '/')) {
		c += *c == '/';
		if (strncmp(c, RELPATH_OWN_DIR, own) == 0 && (c[own] == '/' || c[own] == '\0'))
			return true;
	}
	return false;
}

/* A directory matched by no rule of its own is a passage as soon as an earlier rule wants something
 * beneath it, even when a later one leaves it out: the earlier one wins there. */
static enum profile_verdict judge_rules(const struct profile *profile, const char *path,
					bool is_dir)
{
	bool leads = false;
	for (size_t i = 0; i < profile->n_rules; i++) {
		const struct rule *rule = &profile->rules[i];
		struct glob_match m = glob_match(rule->glob, path);
		if (rule->sign == '-' && m.above)
			break;
		if (rule->sign == '+' && m.itself)
			return PROFILE_REPLICATE;
		if (rule->sign == '=' && m.itself)
			return is_dir ? PROFILE_PASSAGE : PROFILE_COMPARE;
		leads |= rule->sign != '-' && m.beneath;
	}
	return is_dir && leads ? PROFILE_PASSAGE : PROFILE_LEAVE;
}

enum profile_verdict profile_verdict(const struct profile *profile, const char *path, bool is_dir)
{
	return is_ours(path) ? PROFILE_LEAVE : judge_rules(profile, path, is_dir);
}

bool profile_may_replicate(const struct profile *profile, const char *path)
{
	enum profile_verdict as_dir = profile_verdict(profile, path, true);
	return as_dir == PROFILE_REPLICATE || as_dir == PROFILE_PASSAGE ||
	       profile_verdict(profile, path, false) == PROFILE_REPLICATE;
}

struct profile_judgement profile_judge(const struct profile *profile, const char *path, bool is_dir)
{
	struct profile_judgement out = {.verdict = profile_verdict(profile, path, is_dir),
					.order_class = ORDER_OTHER};
	if (is_dir || out.verdict == PROFILE_LEAVE)
		return out;
	for (size_t i = 0; i < profile->n_attributes; i++) {
		if (glob_matches(profile->attributes[i].glob, path))
			out.attributes |= profile->attributes[i].bits & profile->allowed;
	}
	for (size_t i = 0; i < profile->n_classes; i++) {
		if (glob_matches(profile->classes[i].glob, path)) {
			out.order_class = (uint8_t)profile->classes[i].bits;
			break;
		}
	}
	return out;
}

bool profile_set(const struct profile *profile, const char *path, char out[PROFILE_SET_MAX])
{
	if (!profile->has_sets || is_ours(path))
		return false;
	for (size_t i = 0; i < profile->n_rules; i++) {
		const struct rule *rule = &profile->rules[i];
		struct glob_match m = glob_match(rule->glob, path);
		if (rule->sign == '+' && m.itself)
			return rule->set &&
			       set_name_expand(out, PROFILE_SET_MAX, rule->set, rule->glob, path);
		if ((rule->sign == '-' && m.above) || (rule->sign == '=' && m.itself))
			return false;
	}
	return false;
}

static void text_add(struct profile *profile, const char *line)
{
	buf_append(&profile->text, line, strlen(line));
	buf_append(&profile->text, "\n", 1);
}

#define SET_ATTRIBUTE "set="

/* Takes "set=NAME " off the front of what follows the sign. *name is heap, NULL without one. */
static int take_set(char **name, const char **rest, char sign, struct err *err)
{
	*name = NULL;
	if (strncmp(*rest, SET_ATTRIBUTE, strlen(SET_ATTRIBUTE)) != 0)
		return 0;
	if (sign != '+')
		return err_set(err, -EINVAL,
			       "only what is replicated (\"+ \") can be in a set; a pattern that "
			       "begins with \"set=\" is written \"\\set=\"");
	const char *at = *rest + strlen(SET_ATTRIBUTE);
	size_t len = strcspn(at, " ");
	if (at[len] != ' ' || at[len + 1] == '\0')
		return err_set(err, -EINVAL, "a set needs a pattern: \"+ set=NAME PATTERN\"");
	*name = x_strndup(at, len);
	*rest = at + len + 1;
	return 0;
}

static int rule_parse(struct rule *rule, const char *line, struct err *err)
{
	const char *pattern = line + 2;
	rule->sign = line[0];
	int r = take_set(&rule->set, &pattern, line[0], err);
	if (r == 0)
		r = glob_new(&rule->glob, pattern, err);
	if (r == 0 && rule->set)
		r = set_name_check(rule->set, rule->glob, err);
	return r;
}

static int rule_add(struct profile *profile, const char *line, struct err *err)
{
	char q[QUOTED_MAX];
	if (!line[0] || !strchr("+-=", line[0]) || line[1] != ' ')
		return err_set(err, -EINVAL,
			       "rule %.60s begins with neither \"+ \" (replicate), \"- \" (leave "
			       "out) nor \"= \" "
			       "(compare only)",
			       quote_path(q, line));
	struct rule rule = {0};
	int r = rule_parse(&rule, line, err);
	if (r < 0) {
		glob_free(rule.glob);
		free(rule.set);
		return err_wrap(err, "rule %.80s", quote_path(q, line));
	}
	GROW(profile->rules, profile->rules_cap, profile->n_rules + 1);
	profile->rules[profile->n_rules++] = rule;
	profile->has_sets |= rule.set != NULL;
	text_add(profile, line);
	return 0;
}

/* Our own patterns: one that does not compile is a bug that the first test finds. */
static void attribute_add(struct attribute **array, size_t *n, size_t *cap,
			  const struct profile_attribute *from)
{
	struct glob *glob = NULL;
	BUG_ON(glob_new(&glob, from->pattern, NULL) < 0);
	GROW(*array, *cap, *n + 1);
	(*array)[(*n)++] = (struct attribute){.glob = glob, .bits = from->bits};
}

static void rules_add(struct profile *profile, const char *const *rules)
{
	for (; rules && *rules; rules++)
		BUG_ON(rule_add(profile, *rules, NULL) < 0);
}

static void attributes_add(struct profile *profile, const struct profile_attribute *list)
{
	for (const struct profile_attribute *a = list; a->pattern; a++) {
		attribute_add(&profile->attributes, &profile->n_attributes,
			      &profile->attributes_cap, a);
		if (a->bits & RULE_MTIME_STEP) {
			AUTO_FREE char *line = x_asprintf("mtime-step %s", a->pattern);
			text_add(profile, line);
		}
	}
}

static int sub_wrong(const char *name, const char *sub, struct err *err)
{
	char whole[QUOTED_MAX], part[QUOTED_MAX];
	quote_path(whole, name);
	if (strncmp(name, "all", 3) == 0)
		return err_set(err, -EINVAL,
			       "profile %.80s: \"all\" has no sub-profiles; write rules instead",
			       whole);
	quote_bytes(part, sub, strcspn(sub, "+"));
	return err_set(err, -EINVAL,
		       "profile %.80s: there is no sub-profile %.80s; there are keys, conf, "
		       "webapps and ext",
		       whole, part);
}

/* Sub-profiles in the order of the table, whatever the order in the name: so two ways of writing
 * one profile have one hash. */
static int layers_add(struct profile *profile, const char *name, struct err *err)
{
	char q[QUOTED_MAX];
	const struct profile_layer *base = profile_layer_find(name, strcspn(name, "+"), NULL);
	if (!base)
		return err_set(err, -EINVAL,
			       "profile %.80s is neither \"all\" nor \"wso2is\" (to which "
			       "sub-profiles are "
			       "joined by +, as in \"wso2is+keys\")",
			       quote_path(q, name));
	bool wanted[PROFILE_LAYERS_MAX] = {false};
	for (const char *s = name + strcspn(name, "+"); *s; s += strcspn(s, "+")) {
		s++;
		const struct profile_layer *sub =
			profile_layer_find(s, strcspn(s, "+"), base->name);
		if (!sub)
			return sub_wrong(name, s, err);
		wanted[sub - profile_layers] = true;
	}
	rules_add(profile, base->first);
	for (size_t i = 0; profile_layers[i].name; i++)
		rules_add(profile, wanted[i] ? profile_layers[i].rules : NULL);
	rules_add(profile, base->rules);
	attributes_add(profile, base->attributes);
	profile->max_delete = base->max_delete;
	return 0;
}

int profile_new(struct profile **out, const char *name, const char *const *rules, size_t n,
		bool gates, struct err *err)
{
	AUTO(profile) *profile = x_calloc(1, sizeof(*profile));
	profile->allowed = gates ? ~0u : ~(unsigned)(GATE_XML | GATE_JSON | GATE_NOT_EMPTIED);
	if (n > PROFILE_RULES_MAX)
		return err_set(err, -EINVAL, "there are %zu rules; at most %d are read", n,
			       PROFILE_RULES_MAX);
	for (size_t i = 0; i < n; i++) {
		int r = rule_add(profile, rules[i], err);
		if (r < 0)
			return r;
	}
	int r = layers_add(profile, name, err);
	if (r < 0)
		return r;
	for (const struct profile_attribute *a = profile_order_classes; a->pattern; a++)
		attribute_add(&profile->classes, &profile->n_classes, &profile->classes_cap, a);
	buf_append(&profile->text, "", 1);
	*out = STEAL(profile);
	return 0;
}

const char *profile_text(const struct profile *profile)
{
	return (const char *)profile->text.data;
}

void profile_hash(const struct profile *profile, uint8_t out[32])
{
	hash_bytes(out, profile->text.data, profile->text.len);
}

uint8_t profile_max_delete(const struct profile *profile)
{
	return profile->max_delete;
}
