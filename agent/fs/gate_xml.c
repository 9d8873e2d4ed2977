/* gate_xml.c - expat, with its memory and its expansion capped. */
#include "agent/fs/gate.h"

#define XML_DTD 1 /* the header hides the caps on expansion unless its user asks like this */

#include <errno.h>
#include <expat.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"

#define PIECE (64 * 1024)

/* Expat keeps a tag, comment or attribute whole and, before 2.6, scans it again for every piece
 * that arrives: quadratic. A cap on its memory ends both. Ordinary files need 200 KiB. */
#define MEMORY_MAX (4 * 1024 * 1024)

#define AMPLIFICATION_MAX 10.0f		    /* of entity expansion over input ... */
#define AMPLIFICATION_FROM (1024ull * 1024) /* ... once this much has been processed */

/* Expat's allocator has no argument; a gate runs from beginning to end on one thread. */
static _Thread_local size_t memory_used;

static void *capped_malloc(size_t size)
{
	if (size > MEMORY_MAX - memory_used)
		return NULL;
	void *p = malloc(size);
	memory_used += p ? malloc_usable_size(p) : 0;
	if (memory_used > MEMORY_MAX)
		memory_used = MEMORY_MAX;
	return p;
}

static void capped_free(void *p)
{
	size_t size = p ? malloc_usable_size(p) : 0;
	memory_used -= size < memory_used ? size : memory_used;
	free(p);
}

static void *capped_realloc(void *old, size_t size)
{
	size_t had = old ? malloc_usable_size(old) : 0;
	if (size > had && size - had > MEMORY_MAX - memory_used)
		return NULL;
	void *p = realloc(old, size);
	if (p) {
		memory_used -= had < memory_used ? had : memory_used;
		memory_used += malloc_usable_size(p);
		if (memory_used > MEMORY_MAX)
			memory_used = MEMORY_MAX;
	}
	return p;
}

/* Expat knows four encodings. Of any other that extends ASCII the syntax can still be judged: every
 * byte above is taken for a letter, which may stand in a name and in text. */
static int accept_encoding(void *data, const XML_Char *name, XML_Encoding *info)
{
	(void)data, (void)name;
	for (int i = 0; i < 256; i++)
		info->map[i] = i < 0x80 ? i : 0xe9;
	info->data = NULL;
	info->convert = NULL;
	info->release = NULL;
	return XML_STATUS_OK;
}

static int explain(XML_Parser parser, char why[GATE_WHY_MAX])
{
	enum XML_Error code = XML_GetErrorCode(parser);
	unsigned long line = XML_GetCurrentLineNumber(parser);
	const char *text = code == XML_ERROR_NO_MEMORY
				   ? "a tag, comment or attribute that is too large to judge"
				   : XML_ErrorString(code);
	snprintf(why, GATE_WHY_MAX, "not well-formed XML: line %lu: %s", line, text);
	return -EBADMSG;
}

/* @return bytes parsed, 0 never, or negative errno */
static ssize_t feed(XML_Parser parser, int fd, uint64_t at, uint64_t size, char why[GATE_WHY_MAX])
{
	size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
	void *piece = XML_GetBuffer(parser, PIECE);
	if (!piece)
		return explain(parser, why);
	ssize_t n = pread(fd, piece, want, (off_t)at);
	if (n < 0)
		return -errno;
	if (n == 0 && want > 0)
		return -EAGAIN;
	bool last = at + (uint64_t)n == size;
	if (XML_ParseBuffer(parser, (int)n, last) != XML_STATUS_OK)
		return explain(parser, why);
	return n;
}

static int parse(XML_Parser parser, int fd, uint64_t size, char why[GATE_WHY_MAX])
{
	uint64_t at = 0;
	do {
		ssize_t n = feed(parser, fd, at, size, why);
		if (n < 0)
			return (int)n;
		at += (uint64_t)n;
	} while (at < size);
	return 0;
}

int gate_check_xml(int fd, uint64_t size, char why[GATE_WHY_MAX])
{
	static const XML_Memory_Handling_Suite capped = {capped_malloc, capped_realloc,
							 capped_free};
	memory_used = 0;
	XML_Parser parser = XML_ParserCreate_MM(NULL, &capped, NULL);
	BUG_ON(!parser);
	XML_SetUnknownEncodingHandler(parser, accept_encoding, NULL);
	XML_SetBillionLaughsAttackProtectionMaximumAmplification(parser, AMPLIFICATION_MAX);
	XML_SetBillionLaughsAttackProtectionActivationThreshold(parser, AMPLIFICATION_FROM);
	int r = parse(parser, fd, size, why);
	XML_ParserFree(parser);
	return r;
}
