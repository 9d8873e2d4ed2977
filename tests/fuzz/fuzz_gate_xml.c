/* The XML gate: any bytes, judged with bounded memory and, under -timeout, in bounded time; a
 * document that is cut before its last bracket never passes. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/fs/gate.h"
#include "fuzz.h"

static int gate(const uint8_t *data, size_t size)
{
	char why[GATE_WHY_MAX] = "";
	int fd = memfd_create("xml", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	int r = gate_check_xml(fd, size, why);
	CHECK(r == 0 || (r == -EBADMSG && why[0] && memchr(why, '\0', sizeof(why))));
	for (const char *c = why; *c; c++)
		CHECK((unsigned char)*c >= ' ');
	close(fd);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 65536 || gate(data, size) < 0)
		return 0;
	const uint8_t *element = memchr(data, '<', size);
	const uint8_t *first_end = memchr(data, '>', size);
	/* Of an encoding of two bytes a letter nothing is said here. */
	if (element && first_end && first_end > element)
		CHECK(gate(data, (size_t)(first_end - data)) == -EBADMSG);
	return 0;
}
