#define _GNU_SOURCE
#include "CPlatform.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// The result of a call that may be interrupted: repeated until it is not, then a negative errno on failure.
#define RETRIED(type, call)                         \
    do {                                            \
        type result;                                \
        do {                                        \
            result = (call);                        \
        } while (result < 0 && errno == EINTR);     \
        return result < 0 ? (type)-errno : result;  \
    } while (0)

static int control(int epoll, int operation, int descriptor, int interest, uint64_t token) {
    static const uint32_t events[] = {
        [VIVA_READ] = EPOLLIN | EPOLLRDHUP, [VIVA_WRITE] = EPOLLOUT, [VIVA_HANG_UP] = EPOLLRDHUP};
    struct epoll_event event = {.events = events[interest], .data.u64 = token};
    return epoll_ctl(epoll, operation, descriptor, &event) < 0 ? -errno : 0;
}

int viva_epoll_create(void) {
    int descriptor = epoll_create1(EPOLL_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int viva_epoll_add(int epoll, int descriptor, int interest, uint64_t token) {
    return control(epoll, EPOLL_CTL_ADD, descriptor, interest, token);
}

int viva_epoll_modify(int epoll, int descriptor, int interest, uint64_t token) {
    return control(epoll, EPOLL_CTL_MOD, descriptor, interest, token);
}

int viva_epoll_remove(int epoll, int descriptor) {
    return control(epoll, EPOLL_CTL_DEL, descriptor, VIVA_READ, 0);
}

int viva_epoll_wait(int epoll, uint64_t *tokens, int timeout_ms) {
    struct epoll_event ready[VIVA_MOST_EVENTS];
    int count = epoll_wait(epoll, ready, VIVA_MOST_EVENTS, timeout_ms);
    if (count < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    for (int index = 0; index < count; index++) {
        tokens[index] = ready[index].data.u64;
    }
    return count;
}

int viva_eventfd_create(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

int viva_eventfd_signal(int descriptor) {
    uint64_t one = 1;
    RETRIED(int, (int)write(descriptor, &one, sizeof one));
}

int viva_eventfd_clear(int descriptor) {
    uint64_t count;
    RETRIED(int, (int)read(descriptor, &count, sizeof count));
}

struct viva_semaphore {
    sem_t count;
};

struct viva_semaphore *viva_semaphore_create(void) {
    struct viva_semaphore *semaphore = malloc(sizeof *semaphore);
    // sem_init(3) refuses only counts beyond SEM_VALUE_MAX and sharing between processes.
    if (semaphore != NULL) {
        sem_init(&semaphore->count, 0, 0);
    }
    return semaphore;
}

void viva_semaphore_destroy(struct viva_semaphore *semaphore) {
    sem_destroy(&semaphore->count);
    free(semaphore);
}

void viva_semaphore_signal(struct viva_semaphore *semaphore) {
    sem_post(&semaphore->count);
}

int viva_semaphore_wait(struct viva_semaphore *semaphore, int timeout_ms) {
    int failure;
    if (timeout_ms < 0) {
        do {
            failure = sem_wait(&semaphore->count);
        } while (failure < 0 && errno == EINTR);
        return failure == 0;
    }
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += timeout_ms / 1000;
    end.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_sec += 1;
        end.tv_nsec -= 1000000000L;
    }
    do {
        failure = sem_clockwait(&semaphore->count, CLOCK_MONOTONIC, &end);
    } while (failure < 0 && errno == EINTR);
    return failure == 0;
}

ssize_t viva_receive(int descriptor, void *bytes, size_t count) {
    RETRIED(ssize_t, recv(descriptor, bytes, count, MSG_DONTWAIT));
}

ssize_t viva_send(int descriptor, const void *bytes, size_t count, int more) {
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    RETRIED(ssize_t, send(descriptor, bytes, count, flags));
}

ssize_t viva_send_file(int descriptor, int file, int64_t offset, size_t count) {
    off_t position = offset;
    RETRIED(ssize_t, sendfile(descriptor, file, &position, count));
}

ssize_t viva_read_at(int file, void *bytes, size_t count, int64_t offset) {
    RETRIED(ssize_t, pread(file, bytes, count, offset));
}

int viva_shutdown_write(int descriptor) {
    return shutdown(descriptor, SHUT_WR) < 0 ? -errno : 0;
}

int viva_wait(int descriptor, int interest, int timeout_ms) {
    struct pollfd waited = {.fd = descriptor, .events = interest == VIVA_WRITE ? POLLOUT : POLLIN};
    int count = poll(&waited, 1, timeout_ms);
    if (count < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    return count;
}

void viva_start_writeback(int file) {
    // An error is not lost: the fsync that follows reports it.
    (void)sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int viva_reserve(int file, int64_t count) {
    RETRIED(int, fallocate(file, FALLOC_FL_KEEP_SIZE, 0, count));
}

int64_t viva_file_length(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) < 0 ? -errno : status.st_size;
}

int64_t viva_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -errno;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -errno;
    }
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

void viva_give_memory_back(void) {
    // What malloc does at the start; it would raise both with the first large block that is freed.
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 128 << 10);
}

void viva_ignore_broken_pipe(void) {
    signal(SIGPIPE, SIG_IGN);
}

void viva_name_thread(const char *name) {
    char shortened[16];
    snprintf(shortened, sizeof shortened, "%s", name);
    pthread_setname_np(pthread_self(), shortened);
}

void viva_stand_behind(int steps) {
    // Standing back is always allowed.
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + steps);
}
