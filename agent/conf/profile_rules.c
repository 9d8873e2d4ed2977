#include "agent/conf/profile_rules.h"

#include <string.h>

#include "agent/conf/profile.h"

/* What an editor or a copying tool leaves behind is no artifact, and an .enc is a user store in
 * plain text that waits for its own server to encrypt it. Dotfiles are never deployed. */
static const char *const wso2is_first[] = {
	"- **/.*", "- **/*~", "- **/*.{swp,tmp,bak,orig,part,bk}", "- **/*.enc", NULL,
};

/* Everything not named is left alone: logs, databases, the binary pack, what the server renders or
 * unpacks. Keys and settings differ between regions with reason, or are mounted as secrets: they
 * are compared, so that a difference is known before the day of the failover, and copied only on
 * demand. */
static const char *const wso2is_rules[] = {
	"+ deployment/server/userstores/*.xml",
	"+ tenants/[0-9]*/userstores/*.xml",
	"+ tenants/[0-9]*/eventpublishers/*.xml",
	"+ tenants/[0-9]*/eventstreams/*.json",
	"+ deployment/server/{bpel,humantasks}/*.zip",
	"+ deployment/server/eventpublishers/*.xml",
	"+ deployment/server/eventstreams/*.json",
	"= resources/security/*.{jks,p12,pem,crt}",
	"= conf/security/{cipher-text,secret-conf}.properties",
	"= conf/deployment.toml",
	"= conf/identity/{service,identity}-providers/*.xml",
	NULL,
};

/* A keystore and the settings that name it and its passwords work together or not at all. */
static const char *const keys_rules[] = {
	"+ set=keys resources/security/*.{jks,p12,pem,crt}",
	"+ set=keys conf/security/{cipher-text,secret-conf}.properties",
	NULL,
};

static const char *const conf_rules[] = {
	"+ set=keys conf/deployment.toml",
	"+ conf/identity/{service,identity}-providers/*.xml",
	NULL,
};

/* Each server unpacks its own archives. Who edits what is unpacked adds a rule for it with the same
 * set. */
static const char *const webapps_rules[] = {
	"+ set=webapp:{1} deployment/server/webapps/*.war",
	"+ deployment/server/jaggeryapps/**",
	NULL,
};

static const char *const ext_rules[] = {
	"+ components/{dropins,lib}/*.jar",
	"+ resources/identity/extensions/**",
	NULL,
};

static const char *const all_rules[] = {
	"+ **",
	NULL,
};

/* The server compares modification times only, some Java versions by the second. */
static const struct profile_attribute wso2is_attributes[] = {
	{"**/*.[xX][mM][lL]", GATE_XML | GATE_NOT_EMPTIED},
	{"**/*.[jJ][sS][oO][nN]", GATE_JSON | GATE_NOT_EMPTIED},
	{"**", RULE_MTIME_STEP},
	{NULL, 0},
};

/* Only what a server is known to write as it goes. A tree holds templates and fragments that are
 * called .xml and were never well formed; they have to travel too. */
static const struct profile_attribute all_attributes[] = {
	{"**/{userstores,eventpublishers}/*.[xX][mM][lL]", GATE_XML | GATE_NOT_EMPTIED},
	{"**/eventstreams/*.[jJ][sS][oO][nN]", GATE_JSON | GATE_NOT_EMPTIED},
	{NULL, 0},
};

const struct profile_attribute profile_order_classes[] = {
	{"**/resources/security/**", ORDER_KEYS},
	{"**/*.{jks,p12}", ORDER_KEYS},
	{"**/conf/deployment.toml", ORDER_SETTINGS},
	{"**/conf/security/*.properties", ORDER_SETTINGS},
	{"**/eventstreams/*", ORDER_STREAMS},
	{"**/eventpublishers/*", ORDER_PUBLISHERS},
	{"**/*.{war,car,zip,jar}", ORDER_ARCHIVES},
	{"**/deployment/server/userstores/*", ORDER_USER_STORES},
	{"**/tenants/**", ORDER_TENANTS},
	{NULL, 0},
};

const struct profile_layer profile_layers[PROFILE_LAYERS_MAX] = {
	{.name = "wso2is",
	 .first = wso2is_first,
	 .rules = wso2is_rules,
	 .attributes = wso2is_attributes,
	 .max_delete = 20,
	 .help = "What WSO2 Identity Server changes while it runs; keys and settings are compared "
		 "only."},
	{.name = "keys",
	 .of = "wso2is",
	 .rules = keys_rules,
	 .help = "Also keystores, certificates and the secure vault's files."},
	{.name = "conf",
	 .of = "wso2is",
	 .rules = conf_rules,
	 .help = "Also deployment.toml and file-based service and identity providers."},
	{.name = "webapps",
	 .of = "wso2is",
	 .rules = webapps_rules,
	 .help = "Also web applications (*.war) and jaggery applications."},
	{.name = "ext",
	 .of = "wso2is",
	 .rules = ext_rules,
	 .help = "Also drop-in and library jars and identity extensions."},
	{.name = "all",
	 .rules = all_rules,
	 .attributes = all_attributes,
	 .max_delete = 50,
	 .help = "Everything in the tree except the agent's own directory."},
	{.name = NULL},
};

const struct profile_layer *profile_layer_find(const char *name, size_t len, const char *of)
{
	for (const struct profile_layer *l = profile_layers; l->name; l++) {
		bool same_base = of ? l->of && strcmp(l->of, of) == 0 : !l->of;
		if (same_base && strlen(l->name) == len && memcmp(l->name, name, len) == 0)
			return l;
	}
	return NULL;
}
