// ThreadSanitizer and the standard library's Mutex, which are built apart: taken and released without contention, a
// Mutex is an atomic operation in our own, instrumented code. Under contention libswiftSynchronization asks the kernel
// (FUTEX_LOCK_PI, FUTEX_UNLOCK_PI), where ThreadSanitizer sees nothing: it then reports races between critical sections
// of one Mutex. These two functions stand before the library's own (LD_PRELOAD) and tell it what happened.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

void __tsan_acquire(void *address) __attribute__((weak));
void __tsan_release(void *address) __attribute__((weak));

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"


__attribute__((swiftcall)) void lock_slow(uint32_t thread, __attribute__((swift_context)) void *handle) __asm__(LOCK);
__attribute__((swiftcall)) void unlock_slow(__attribute__((swift_context)) void *handle) __asm__(UNLOCK);

__attribute__((swiftcall)) void lock_slow(uint32_t thread, __attribute__((swift_context)) void *handle) {
    static __attribute__((swiftcall)) void (*real)(uint32_t, __attribute__((swift_context)) void *);
    if (!real) real = dlsym(RTLD_NEXT, LOCK);
    real(thread, handle);
    if (__tsan_acquire) __tsan_acquire(handle);
}

__attribute__((swiftcall)) void unlock_slow(__attribute__((swift_context)) void *handle) {
    static __attribute__((swiftcall)) void (*real)(__attribute__((swift_context)) void *);
    if (!real) real = dlsym(RTLD_NEXT, UNLOCK);
    if (__tsan_release) __tsan_release(handle);
    real(handle);
}
