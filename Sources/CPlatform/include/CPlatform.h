#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "processes.h"

// Linux calls that Swift cannot spell: packed or variadic structures, socket addresses, GNU-only functions.
// Every function retries EINTR itself and answers a negative errno on failure, so no caller reads `errno`.

int viva_epoll_create(void);
// What is watched for: input and the peer's end of file, room to write, the peer's end of file alone.
#define VIVA_READ 0
#define VIVA_WRITE 1
#define VIVA_HANG_UP 2
int viva_epoll_add(int epoll, int descriptor, int interest, uint64_t token);
int viva_epoll_modify(int epoll, int descriptor, int interest, uint64_t token);
int viva_epoll_remove(int epoll, int descriptor);
// Writes the tokens of at most 256 ready descriptors; a negative timeout waits for ever. An interrupted wait answers 0.
#define VIVA_MOST_EVENTS 256
int viva_epoll_wait(int epoll, uint64_t *tokens, int timeout_ms);

int viva_eventfd_create(void);
int viva_eventfd_signal(int descriptor);
int viva_eventfd_clear(int descriptor);

// A counting semaphore (sem_overview(7)) that wakes one waiter for each signal; NULL without memory.
struct viva_semaphore;
struct viva_semaphore *viva_semaphore_create(void);
void viva_semaphore_destroy(struct viva_semaphore *semaphore);
void viva_semaphore_signal(struct viva_semaphore *semaphore);
// Takes one, waiting for it; a negative timeout waits for ever. 1 when taken, 0 when the time is over.
int viva_semaphore_wait(struct viva_semaphore *semaphore, int timeout_ms);

// Writes the addresses of a host as numbers with a blank behind each; what does not fit is left out. A failed look-up
// answers VIVA_LOOKUP_FAILED - EAI code.
#define VIVA_LOOKUP_FAILED (-100000)
int viva_look_up(const char *host, char *addresses, size_t capacity);
// Binds and listens on the first address of a host, non-blocking, close-on-exec, SO_REUSEADDR; on `::` without IPv4
// where `alone`. A look-up may fail as above.
int viva_listen(const char *host, uint16_t port, int alone, int backlog);
// The same on a local socket (unix(7)), which owner and group may use; the file of one that nobody listens on any more is
// replaced.
int viva_listen_local(const char *path, int backlog);
// Connects, blocking; connecting, reading and writing wait no longer than `patience_ms` each.
int viva_connect(const char *host, uint16_t port, int patience_ms);
int viva_connect_local(const char *path, int patience_ms);
// Makes an inherited listening socket non-blocking and close-on-exec; -EINVAL when it is a socket that does not listen.
int viva_adopt_listener(int descriptor);
// The most bytes that wait in the kernel for a client that does not take them, besides those on their way: without it
// the send buffer of each grows to megabytes, which are filled at once (tcp(7), TCP_NOTSENT_LOWAT).
#define VIVA_MOST_UNSENT_BYTES (256 << 10)
// Accepts one connection, non-blocking and close-on-exec, with TCP_NODELAY and that limit.
int viva_accept(int listener);
// Writes the numeric host of this end (peer = 0) or the other end (peer = 1), `unix:` and the path for a local socket;
// answers the port.
int viva_socket_name(int descriptor, int peer, char *host, size_t capacity);

ssize_t viva_receive(int descriptor, void *bytes, size_t count);
ssize_t viva_send(int descriptor, const void *bytes, size_t count, int more);
ssize_t viva_send_file(int descriptor, int file, int64_t offset, size_t count);
ssize_t viva_read_at(int file, void *bytes, size_t count, int64_t offset);
// Sends FIN and keeps the reading half.
int viva_shutdown_write(int descriptor);
// Waits for POLLIN or, with VIVA_WRITE, POLLOUT; 1 when ready or broken, 0 when the time is over or a signal
// came.
int viva_wait(int descriptor, int interest, int timeout_ms);
int64_t viva_file_length(int descriptor);
// Begins to write what is dirty of a file (sync_file_range(2)) and does not wait: a hint, no promise.
void viva_start_writeback(int file);

// Takes room on the disk for the first bytes of a file, whose length stays what it is (fallocate(2), which never
// writes zeros itself as posix_fallocate(3) does).
int viva_reserve(int file, int64_t count);

// Raises the soft limit of open descriptors to the hard one; answers the limit.
int64_t viva_raise_descriptor_limit(void);
// Keeps blocks from 128 KiB on apart from the heap, for the life of the process: they go back to the system when they
// are freed, where the heap of each thread would keep them (mallopt(3)).
void viva_give_memory_back(void);
void viva_ignore_broken_pipe(void);
// Names the calling thread; 15 bytes count.
void viva_name_thread(const char *name);
// Adds to the calling thread's nice value (setpriority(2); of a thread on Linux).
void viva_stand_behind(int steps);
