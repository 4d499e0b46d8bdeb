#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// A child process with chosen descriptors and limits. Between fork and exec only C runs, and only system calls: the
// parent has many threads, and what they hold (the allocator's locks among it) stays held in the child for ever.

// A limit that is not set.
#define VIVA_UNLIMITED UINT64_MAX

struct viva_child {
    // What to execute, in the parent's environment; the arguments end with NULL.
    const char *path;
    char *const *arguments;
    // Become 3, 4, 5… in the child; every other descriptor is closed there but 0, 1 and 2.
    const int *descriptors;
    size_t descriptor_count;
    // Standard input and output are /dev/null instead of the parent's; standard error is always the parent's.
    int is_silent;
    // Sent to the child when the thread that started it ends; 0 for none.
    int death_signal;
    // Bytes of private writable memory (RLIMIT_DATA) and open descriptors (RLIMIT_NOFILE); cores are never dumped.
    uint64_t memory_bytes;
    uint64_t most_descriptors;
    // Written to oom_score_adj: 0 is untouched, 1000 is the first that the kernel kills when memory is gone.
    int oom_score;
};

// Starts the child; answers a pidfd that closes on exec and writes the process identifier, or a negative errno of the
// step that failed, with nothing left behind.
int viva_spawn(const struct viva_child *child, pid_t *identifier);
// Waits until the child has ended; 1 when it has, 0 when the time is over. A negative timeout waits for ever.
int viva_child_wait(int process, int timeout_ms);
// Reaps an ended child: writes its exit code, or its signal (is_signal = 1).
int viva_child_reap(int process, int *status, int *is_signal);
// Reaps every ended child but `kept`: processes that lost their parents and became children of this one.
void viva_reap_strangers(pid_t kept);
// Milliseconds of processor time that a child of this identifier has had, all threads together, or a negative errno.
int64_t viva_child_time(pid_t identifier);
// Sends a signal; one that has ended already gets none, and nobody else does.
int viva_child_signal(int process, int number);

// Two connected stream sockets, both closed on exec.
int viva_socket_pair(int pair[2]);
// Waits until bytes can come or go, then moves as many as it can; 0 at the end of the input, -ETIMEDOUT when nothing
// could be moved for so long (negative: for ever).
ssize_t viva_channel_receive(int descriptor, void *bytes, size_t count, int timeout_ms);
ssize_t viva_channel_send(int descriptor, const void *bytes, size_t count, int timeout_ms);
