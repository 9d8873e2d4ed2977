/* The JSON gate: what jansson parses must pass (it holds nothing back that is whole), and a file
 * cut in the middle of an object or array never passes. */
#include <errno.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/fs/gate.h"
#include "fuzz.h"

static int gate(const uint8_t *data, size_t size)
{
	char why[GATE_WHY_MAX] = "";
	int fd = memfd_create("json", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	int r = gate_check_json(fd, size, why);
	CHECK(r == 0 || (r == -EBADMSG && why[0] && memchr(why, '\0', sizeof(why))));
	CHECK(gate_check_json(fd, size + 1, why) != 0); /* shorter than it should be */
	close(fd);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_error_t where;
	if (size > 65536)
		return 0;
	int r = gate(data, size);
	json_t *parsed = json_loadb((const char *)data, size, JSON_DECODE_ANY, &where);
	if (parsed && !memchr(data, 0, size)) /* jansson takes a NUL byte for the end */
		CHECK(r == 0);
	if (r == 0 && size > 1 && (data[0] == '{' || data[0] == '[')) {
		const uint8_t *last = data + size;
		while (last > data && last[-1] != '}' && last[-1] != ']')
			last--;
		CHECK(last > data && gate(data, (size_t)(last - data) - 1) == -EBADMSG);
	}
	json_decref(parsed);
	return 0;
}
