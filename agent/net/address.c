#include "agent/net/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/quote.h"

static int not_an_address(const char *text, const char *what, struct err *err)
{
	char q[QUOTED_MAX];
	return err_set(err, -EINVAL,
		       "%.120s is not an address: %s; write HOST:PORT, for example "
		       "10.0.0.1:7443 or [::1]:7443",
		       quote_path(q, text), what);
}

static bool is_port(const char *text)
{
	size_t len = strlen(text);
	return len >= 1 && len <= 5 && strspn(text, "0123456789") == len && atoi(text) <= 65535;
}

int address_parse(struct address *out, const char *text, struct err *err)
{
	const char *colon = strrchr(text, ':');
	const char *host = text;
	if (!colon)
		return not_an_address(text, "no port", err);
	if (!is_port(colon + 1))
		return not_an_address(text, "the port must be a number up to 65535", err);
	size_t len = (size_t)(colon - host);
	if (host[0] == '[') {
		if (len < 3 || host[len - 1] != ']')
			return not_an_address(text, "no closing bracket", err);
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return not_an_address(text, "an IPv6 address needs brackets", err);
	}
	if (len == 0 || len >= sizeof(out->host))
		return not_an_address(text, "no host, or one too long", err);
	memcpy(out->host, host, len);
	out->host[len] = '\0';
	snprintf(out->port, sizeof(out->port), "%s", colon + 1);
	return 0;
}

bool address_is_numeric(const struct address *address, struct sockaddr_storage *out)
{
	int port = atoi(address->port);
	memset(out, 0, sizeof(*out));
	return uv_ip4_addr(address->host, port, (struct sockaddr_in *)out) == 0 ||
	       uv_ip6_addr(address->host, port, (struct sockaddr_in6 *)out) == 0;
}

const char *address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr *from)
{
	char host[64];
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
	if (from->sa_family == AF_INET && uv_ip4_name(v4, host, sizeof(host)) == 0)
		snprintf(out, ADDRESS_TEXT_MAX, "%s:%d", host, ntohs(v4->sin_port));
	else if (from->sa_family == AF_INET6 && uv_ip6_name(v6, host, sizeof(host)) == 0)
		snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%d", host, ntohs(v6->sin6_port));
	else
		snprintf(out, ADDRESS_TEXT_MAX, "?");
	return out;
}
