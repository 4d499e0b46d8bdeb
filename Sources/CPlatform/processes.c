#define _GNU_SOURCE
#include "CPlatform.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// The first descriptor that a child is given.
#define FIRST_DESCRIPTOR 3
// The last one that is looked at where close_range(2) is missing.
#define LAST_DESCRIPTOR 65536

static int limit(int resource, uint64_t most) {
    struct rlimit value;
    if (most == VIVA_UNLIMITED) {
        return 0;
    }
    if (getrlimit(resource, &value) < 0) {
        return -errno;
    }
    // A limit that is lower already stays.
    value.rlim_max = most < value.rlim_max ? most : value.rlim_max;
    value.rlim_cur = value.rlim_max;
    return setrlimit(resource, &value) < 0 ? -errno : 0;
}

// Moves the descriptors to their places. First out of the way, for the place of one may be where another one is.
static int arrange(const struct viva_child *child, int *moved) {
    int end = FIRST_DESCRIPTOR + (int)child->descriptor_count;
    for (size_t index = 0; index < child->descriptor_count; index++) {
        moved[index] = fcntl(child->descriptors[index], F_DUPFD_CLOEXEC, end);
        if (moved[index] < 0) {
            return -errno;
        }
    }
    for (size_t index = 0; index < child->descriptor_count; index++) {
        if (dup2(moved[index], FIRST_DESCRIPTOR + (int)index) < 0) {
            return -errno;
        }
    }
    if (child->is_silent) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0) {
            return -errno;
        }
    }
    if (close_range((unsigned)end, ~0U, 0) < 0) {
        for (int descriptor = end; descriptor < LAST_DESCRIPTOR; descriptor++) {
            close(descriptor);
        }
    }
    return 0;
}

static void prefer_for_killing(int score) {
    char text[8];
    size_t start = sizeof text;
    for (int rest = score; rest > 0 && start > 0; rest /= 10) {
        text[--start] = (char)('0' + rest % 10);
    }
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        // Where it cannot be written the kernel chooses as it does otherwise.
        ssize_t written = write(file, text + start, sizeof text - start);
        (void)written;
        close(file);
    }
}

// Everything between fork and exec; answers only when a step failed. It shares the parent's memory, so it may write
// to nothing but its own frame and `moved`.
static int become(const struct viva_child *child, pid_t parent, int *moved, const sigset_t *mask) {
    // Handlers of the parent point into its program; what it ignores the child would ignore too.
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL);
    }
    if (child->death_signal != 0 && prctl(PR_SET_PDEATHSIG, child->death_signal) < 0) {
        return -errno;
    }
    // The parent may have gone before the call above.
    if (child->death_signal != 0 && getppid() != parent) {
        return -ESRCH;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    if (child->oom_score > 0) {
        prefer_for_killing(child->oom_score);
    }
    int failure = arrange(child, moved);
    if (failure == 0) {
        failure = limit(RLIMIT_CORE, 0);
    }
    if (failure == 0) {
        failure = limit(RLIMIT_NOFILE, child->most_descriptors);
    }
    if (failure == 0) {
        failure = limit(RLIMIT_DATA, child->memory_bytes);
    }
    if (failure == 0 && sigprocmask(SIG_SETMASK, mask, NULL) < 0) {
        failure = -errno;
    }
    if (failure == 0) {
        execve(child->path, child->arguments, environ);
        failure = -errno;
    }
    return failure;
}

int viva_spawn(const struct viva_child *child, pid_t *identifier) {
    // The child tells what failed through memory that it shares with the suspended parent (vfork(2)).
    volatile int failure = 0;
    sigset_t all, before, none;
    int *moved = calloc(child->descriptor_count + 1, sizeof *moved);
    if (moved == NULL) {
        return -ENOMEM;
    }
    sigfillset(&all);
    sigemptyset(&none);
    // No handler of the parent may run in the child, on memory that both share.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    pid_t made = vfork();
    if (made == 0) {
        failure = become(child, parent, moved, &none);
        _exit(127);
    }
    int answer = made < 0 ? -errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(moved);
    if (answer == 0 && failure != 0) {
        answer = failure;
        waitpid(made, NULL, 0);
    } else if (answer == 0) {
        // Nobody else reaps it, so the number still means this child.
        answer = (int)syscall(SYS_pidfd_open, made, 0);
        if (answer < 0) {
            answer = -errno;
            kill(made, SIGKILL);
            waitpid(made, NULL, 0);
        }
    }
    *identifier = made;
    return answer;
}

// Polls until the descriptor is ready (1) or the time is over (0), however many signals come between.
static int ready(int descriptor, short events, int timeout_ms) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end = now.tv_sec * 1000LL + now.tv_nsec / 1000000 + timeout_ms;
    struct pollfd interest = {.fd = descriptor, .events = events};
    int count;
    int left = timeout_ms;
    while ((count = poll(&interest, 1, left)) < 0 && errno == EINTR) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t rest = end - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
        left = timeout_ms < 0 ? -1 : rest < 0 ? 0 : (int)rest;
    }
    return count < 0 ? -errno : count;
}

int viva_child_wait(int process, int timeout_ms) {
    return ready(process, POLLIN, timeout_ms);
}

int viva_child_reap(int process, int *status, int *is_signal) {
    siginfo_t information = {0};
    int result;
    do {
        result = waitid(P_PIDFD, (id_t)process, &information, WEXITED);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return -errno;
    }
    *status = information.si_status;
    *is_signal = information.si_code != CLD_EXITED;
    return 0;
}

void viva_reap_strangers(pid_t kept) {
    siginfo_t ended;
    do {
        ended.si_pid = 0;
        // Looks first, so that the status of `kept` stays for whoever waits for it.
    } while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0 && ended.si_pid != kept
             && waitpid(ended.si_pid, NULL, 0) > 0);
}

int64_t viva_child_time(pid_t identifier) {
    clockid_t clock;
    struct timespec time;
    int failure = clock_getcpuclockid(identifier, &clock);
    if (failure != 0) {
        return -failure;
    }
    return clock_gettime(clock, &time) < 0 ? -errno : time.tv_sec * INT64_C(1000) + time.tv_nsec / 1000000;
}

int viva_child_signal(int process, int number) {
    return syscall(SYS_pidfd_send_signal, process, number, NULL, 0) < 0 ? -errno : 0;
}

int viva_socket_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

ssize_t viva_channel_receive(int descriptor, void *bytes, size_t count, int timeout_ms) {
    int state = ready(descriptor, POLLIN, timeout_ms);
    return state < 0 ? state : state == 0 ? -ETIMEDOUT : viva_receive(descriptor, bytes, count);
}

ssize_t viva_channel_send(int descriptor, const void *bytes, size_t count, int timeout_ms) {
    int state = ready(descriptor, POLLOUT, timeout_ms);
    return state < 0 ? state : state == 0 ? -ETIMEDOUT : viva_send(descriptor, bytes, count, 0);
}
