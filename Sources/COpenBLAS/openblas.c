#define _GNU_SOURCE
#include "copenblas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

static co_library library;
static int found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

// A factor of its block sizes would change sums in a way that its core's name does not tell. Here, before main, while
// there is one thread; and only taken away: a variable more would move the environment, and where Swift's runtime is
// linked statically it finds the arguments of the program by it. Which core's kernels run (OPENBLAS_CORETYPE) stays the
// operator's to choose: its name tells that.
__attribute__((constructor)) static void settle_environment(void) {
    unsetenv("OPENBLAS_BLOCK_FACTOR");
    unsetenv("GOTO_BLOCK_FACTOR");
}

static void *symbol(void *handle, const char *name) {
    void *address = dlsym(handle, name);
    if (address == NULL) {
        found = 0;
    }
    return address;
}

// OpenBLAS starts a thread for each processor that its loader may run on, each with a stack that counts against
// RLIMIT_DATA: let that be one.
static void *open_library(void) {
#ifdef __linux__
    cpu_set_t before, one;
    int is_bound = 0;
    if (sched_getaffinity(0, sizeof before, &before) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE && !is_bound; cpu++) {
            if (CPU_ISSET(cpu, &before)) {
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                is_bound = sched_setaffinity(0, sizeof one, &one) == 0;
            }
        }
    }
    void *handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    // What was allowed before is allowed now.
    if (is_bound) {
        sched_setaffinity(0, sizeof before, &before);
    }
    return handle;
#else
    return dlopen("libopenblas.dylib", RTLD_NOW | RTLD_LOCAL);
#endif
}

static void load(void) {
    void *handle = open_library();
    if (handle == NULL) {
        return;
    }
    found = 1;
    *(void **)&library.sgemm = symbol(handle, "cblas_sgemm");
    *(void **)&library.ssymm = symbol(handle, "cblas_ssymm");
    *(void **)&library.ssyrk = symbol(handle, "cblas_ssyrk");
    *(void **)&library.strmm = symbol(handle, "cblas_strmm");
    *(void **)&library.strsm = symbol(handle, "cblas_strsm");
    *(void **)&library.spotrf = symbol(handle, "spotrf_");
    *(void **)&library.strtri = symbol(handle, "strtri_");
    char *(*config)(void);
    char *(*core)(void);
    void (*set_threads)(int);
    *(void **)&config = symbol(handle, "openblas_get_config");
    *(void **)&core = symbol(handle, "openblas_get_corename");
    *(void **)&set_threads = symbol(handle, "openblas_set_num_threads");
    if (!found) {
        return;
    }
    set_threads(1);
    library.config = config();
    library.core = core();
}

const co_library *co_load(void) {
    pthread_once(&once, load);
    return found ? &library : NULL;
}

int co_reserve(int threads, unsigned long bytes) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static int granted;
    pthread_mutex_lock(&mutex);
    if (threads > granted) {
        unsigned long wanted = (unsigned long)(threads - granted) * bytes;
        void *room = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room != MAP_FAILED) {
            munmap(room, wanted);
            granted = threads;
        }
    }
    int is_granted = threads <= granted;
    pthread_mutex_unlock(&mutex);
    return is_granted;
}
