/* What single values of the configuration may be. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/hash.h"
#include "agent/conf/conf_table.h"
#include "protocol/relpath.h"
#include "protocol/wire.h"

int conf_check_name(const char *value, struct err *err)
{
	size_t len = strlen(value);
	bool good = len > 0 && len <= WIRE_NAME_MAX && isalnum((unsigned char)value[0]);
	for (const char *c = value; *c; c++)
		good &= isalnum((unsigned char)*c) || strchr("-_.", *c);
	if (!good)
		return err_set(err, -EINVAL,
			       "must be 1 to %d letters, digits, '-', '_' or '.', and begin with a "
			       "letter or digit",
			       WIRE_NAME_MAX);
	return 0;
}

int conf_check_text(const char *value, struct err *err)
{
	return *value ? 0 : err_set(err, -EINVAL, "must not be empty");
}

int conf_check_directory(const char *value, struct err *err)
{
	if (value[0] != '/')
		return err_set(err, -EINVAL, "must be an absolute path (begin with /)");
	for (const char *c = strstr(value, "/.."); c; c = strstr(c + 1, "/..")) {
		if (c[3] == '/' || c[3] == '\0')
			return err_set(err, -EINVAL, "must not contain \"..\"");
	}
	return 0;
}

/* host:port, the host in brackets when it contains colons. */
static int check_endpoint(const char *value, long lowest_port, struct err *err)
{
	const char *colon = strrchr(value, ':');
	bool bracketed = value[0] == '[';
	bool good = colon && colon > value &&
		    (bracketed ? colon[-1] == ']'
			       : memchr(value, ':', (size_t)(colon - value)) == NULL);
	char *end = NULL;
	long port = good && isdigit((unsigned char)colon[1]) ? strtol(colon + 1, &end, 10) : -1;
	if (port < lowest_port || port > 65535 || *end != '\0' || strlen(value) > 300)
		return err_set(err, -EINVAL,
			       "must be HOST:PORT, as in \"10.0.0.1:7443\" or \"[::1]:7443\"");
	return 0;
}

int conf_check_listen(const char *value, struct err *err)
{
	return check_endpoint(value, 0, err); /* 0: any free port, for tests */
}

int conf_check_address(const char *value, struct err *err)
{
	return check_endpoint(value, 1, err);
}

int conf_check_fingerprint(const char *value, struct err *err)
{
	uint8_t hash[HASH_LEN];
	if (strncmp(value, "sha256:", 7) != 0 || hash_from_hex(hash, value + 7) < 0)
		return err_set(err, -EINVAL,
			       "must be \"sha256:\" and 64 hexadecimal digits, as init and check "
			       "print it on that node");
	return 0;
}

int conf_check_followed(const char *value, struct err *err)
{
	const char *wrong = relpath_wrong(value, strlen(value), false);
	if (wrong)
		return err_set(err, -EINVAL,
			       "must be a path in the tree, relative to it: this one %s", wrong);
	return 0;
}

int conf_check_ownership(const char *value, struct err *err)
{
	const char *colon = strchr(value, ':');
	bool owner = colon && colon > value && colon[1] && !strchr(colon + 1, ':');
	if (!owner && strcmp(value, "ignore") != 0 && strcmp(value, "preserve") != 0)
		return err_set(err, -EINVAL, "must be \"ignore\", \"preserve\" or \"USER:GROUP\"");
	return 0;
}
