/* address.h - "host:port" and "[v6]:port" to and from what sockets take. Thread: any. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "agent/base/err.h"

#define ADDRESS_HOST_MAX 256 /* a DNS name has at most 253 bytes */
#define ADDRESS_TEXT_MAX (ADDRESS_HOST_MAX + 16)

struct address {
	char host[ADDRESS_HOST_MAX]; /* without brackets */
	char port[6];
};

/**
 * @param text  "name:7443", "10.0.0.1:7443", "[::1]:7443"
 * @return 0, or -EINVAL with a sentence that says what is wrong
 */
int address_parse(struct address *out, const char *text, struct err *err);

/* @return true with *out set when the host is a number and needs no resolver */
bool address_is_numeric(const struct address *address, struct sockaddr_storage *out);

/* "127.0.0.1:7443" or "[::1]:7443"; "?" when it is neither family. Returns out. */
const char *address_text(char out[ADDRESS_TEXT_MAX], const struct sockaddr *from);

#endif
