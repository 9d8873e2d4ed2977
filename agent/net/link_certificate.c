/* What the other side's certificate says about how long this will go on. */
#include <errno.h>
#include <string.h>

#include "agent/net/link_private.h"

static const struct trusted_peer *trust_in(const struct link *l)
{
	for (size_t i = 0; i < l->identity->n_peers; i++) {
		if (strcmp(l->identity->peers[i].node, l->verdict.node) == 0)
			return &l->identity->peers[i];
	}
	return NULL;
}

int link_certificate(const struct link *l, struct link_certificate *out)
{
	X509 *leaf = l->tls_done ? SSL_get0_peer_certificate(l->tls) : NULL;
	const struct trusted_peer *peer = leaf ? trust_in(l) : NULL;
	uint8_t hash[HASH_LEN];
	int days, seconds;
	if (!peer || !ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(leaf)))
		return -ENOENT;
	tls_key_hash(hash, leaf);
	*out = (struct link_certificate){.pinned = tls_has_pin(peer, hash),
					 .seconds = (int64_t)days * 86400 + seconds};
	return 0;
}
