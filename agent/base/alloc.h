/* alloc.h - ownership made visible: cleanup on scope exit, hand-over, allocation that cannot fail.
 * Small fixed-size allocations abort when memory is exhausted; anything whose size a peer, a file
 * or a tree decides is capped by its caller first. The two compiler extensions the program uses
 * (the cleanup attribute and statement expressions) live here. Thread: any. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* AUTO(thing) *p = thing_new(): thing_free(p) runs on every way out of the scope. A type opts in
 * with DEFINE_AUTO(thing) after its thing_free() is declared; thing_free(NULL) is a no-op. */
#define AUTO(type) __attribute__((cleanup(auto_free_##type))) struct type
#define DEFINE_AUTO(type)                                    \
	static inline void auto_free_##type(struct type **p) \
	{                                                    \
		type##_free(*p);                             \
	}

/* AUTO_FREE char *s: free(s) on scope exit. AUTO_CLOSE int fd: close(fd) if fd >= 0. */
#define AUTO_FREE __attribute__((cleanup(auto_free_heap)))
#define AUTO_CLOSE __attribute__((cleanup(auto_close_fd)))

/* STEAL(p) is p's value, and p becomes NULL: ownership moves on. STEAL_FD likewise leaves -1. */
#define STEAL(p)                             \
	({                                   \
		__typeof__(p) stolen_ = (p); \
		(p) = NULL;                  \
		stolen_;                     \
	})
#define STEAL_FD(fd)                \
	({                          \
		int stolen_ = (fd); \
		(fd) = -1;          \
		stolen_;            \
	})

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1u << (n))

/* A broken invariant of our own: says where and aborts; never used on input. */
#define BUG_ON(cond)                                              \
	do {                                                      \
		if (__builtin_expect(!!(cond), 0))                \
			bug_on_failed(__FILE__, __LINE__, #cond); \
	} while (0)
_Noreturn void bug_on_failed(const char *file, int line, const char *what);

/* Like calloc, realloc, strdup, memdup and asprintf, but never NULL: exhaustion aborts. */
void *x_calloc(size_t count, size_t size);
void *x_realloc(void *old, size_t count, size_t size);
char *x_strdup(const char *text);
char *x_strndup(const char *text, size_t len);
void *x_memdup(const void *data, size_t len); /* len 0 yields a freeable pointer */
char *x_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *x_vasprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* Grows an array geometrically so that index `need - 1` exists; *cap is in elements. */
#define GROW(array, cap, need)                                                \
	do {                                                                  \
		if ((need) > (cap)) {                                         \
			size_t cap_ = (cap) ? (cap) : 16;                     \
			while (cap_ < (need))                                 \
				cap_ *= 2;                                    \
			(array) = x_realloc((array), cap_, sizeof(*(array))); \
			(cap) = cap_;                                         \
		}                                                             \
	} while (0)

static inline void auto_free_heap(void *p)
{
	free(*(void **)p);
}

static inline void auto_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#endif
