/* no_sync.c - linked into tests that kill a process at every step, hundreds of times: nothing is
 * waited for until it is on the disk. What a process leaves behind when it dies is what the kernel
 * has, synced or not; what a power failure leaves is the subject of the simulated disk, and of
 * test_durable, which sees each call. */
#include <unistd.h>

int fsync(int fd);
int fdatasync(int fd);
int syncfs(int fd);

int fsync(int fd)
{
	return 0;
}

int fdatasync(int fd)
{
	return 0;
}

int syncfs(int fd)
{
	return 0;
}
