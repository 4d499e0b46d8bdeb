#define _GNU_SOURCE
#include "CPlatform.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// Addresses, and the sockets that listen on them, connect to them and come from them.

static int listen_on(const struct addrinfo *address, int alone, int backlog) {
    int on = 1;
    int descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return -errno;
    }
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0
        && (address->ai_family != AF_INET6
            || setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &alone, sizeof alone) == 0)
        && bind(descriptor, address->ai_addr, address->ai_addrlen) == 0 && listen(descriptor, backlog) == 0) {
        return descriptor;
    }
    int failure = -errno;
    close(descriptor);
    return failure;
}

static int look_up(const char *host, uint16_t port, int flags, struct addrinfo **found) {
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int failure = getaddrinfo(host, service, &hints, found);
    return failure == 0 ? 0 : VIVA_LOOKUP_FAILED - (failure < 0 ? -failure : failure);
}

int viva_look_up(const char *host, char *addresses, size_t capacity) {
    struct addrinfo *found = NULL;
    int failure = look_up(host, 0, AI_PASSIVE, &found);
    if (failure != 0) {
        return failure;
    }
    char name[NI_MAXHOST];
    addresses[0] = '\0';
    for (struct addrinfo *address = found; address != NULL; address = address->ai_next) {
        size_t length = strlen(addresses);
        if (getnameinfo(address->ai_addr, address->ai_addrlen, name, sizeof name, NULL, 0, NI_NUMERICHOST) != 0
            || length + strlen(name) + 2 > capacity) {
            continue;
        }
        snprintf(addresses + length, capacity - length, "%s ", name);
    }
    freeaddrinfo(found);
    return 0;
}

int viva_listen(const char *host, uint16_t port, int alone, int backlog) {
    struct addrinfo *found = NULL;
    int failure = look_up(host, port, AI_PASSIVE, &found);
    if (failure != 0) {
        return failure;
    }
    int descriptor = -EADDRNOTAVAIL;
    for (struct addrinfo *address = found; address != NULL && descriptor < 0; address = address->ai_next) {
        descriptor = listen_on(address, alone, backlog);
    }
    freeaddrinfo(found);
    return descriptor;
}

// A path that does not fit is refused: a shortened one would be another file.
static int local_address(const char *path, struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path) {
        return -ENAMETOOLONG;
    }
    strcpy(address->sun_path, path);
    return 0;
}

// Removes a socket's file behind which nobody listens: its server was killed.
static void remove_stale(const struct sockaddr_un *address) {
    struct stat status;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return;
    }
    if (connect(probe, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED
        && lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        unlink(address->sun_path);
    }
    close(probe);
}

int viva_listen_local(const char *path, int backlog) {
    struct sockaddr_un address;
    int failure = local_address(path, &address);
    if (failure < 0) {
        return failure;
    }
    remove_stale(&address);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return -errno;
    }
    if (bind(descriptor, (const struct sockaddr *)&address, sizeof address) == 0) {
        // Owner and group; before listen(2), so that nobody else connects meanwhile.
        if (chmod(path, 0660) == 0 && listen(descriptor, backlog) == 0) {
            return descriptor;
        }
        failure = -errno;
        unlink(path);
    } else {
        failure = -errno;
    }
    close(descriptor);
    return failure;
}

static int connect_on(int family, const struct sockaddr *address, socklen_t length, int patience_ms) {
    struct timeval patience = {.tv_sec = patience_ms / 1000, .tv_usec = patience_ms % 1000 * 1000};
    int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return -errno;
    }
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0
        && setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0
        && connect(descriptor, address, length) == 0) {
        return descriptor;
    }
    int failure = -errno;
    close(descriptor);
    return failure;
}

int viva_connect_local(const char *path, int patience_ms) {
    struct sockaddr_un address;
    int failure = local_address(path, &address);
    return failure < 0 ? failure
                       : connect_on(AF_UNIX, (const struct sockaddr *)&address, sizeof address, patience_ms);
}

int viva_connect(const char *host, uint16_t port, int patience_ms) {
    struct addrinfo *found = NULL;
    int failure = look_up(host, port, 0, &found);
    if (failure != 0) {
        return failure;
    }
    int descriptor = -EADDRNOTAVAIL;
    for (struct addrinfo *address = found; address != NULL && descriptor < 0; address = address->ai_next) {
        descriptor = connect_on(address->ai_family, address->ai_addr, address->ai_addrlen, patience_ms);
    }
    freeaddrinfo(found);
    return descriptor;
}

int viva_adopt_listener(int descriptor) {
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0) {
        return -errno;
    }
    int flags = fcntl(descriptor, F_GETFL);
    if (!listens || flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0
        || fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0) {
        return -EINVAL;
    }
    return 0;
}

int viva_accept(int listener) {
    int descriptor;
    do {
        descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) {
        return -errno;
    }
    int on = 1, most = VIVA_MOST_UNSENT_BYTES;
    // A local socket does not know the options: it never delays, and its buffer does not grow.
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof most);
    return descriptor;
}

int viva_socket_name(int descriptor, int peer, char *host, size_t capacity) {
    // The name of a client's end of a local socket has no path: nothing is written behind the family.
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    struct sockaddr *name = (struct sockaddr *)&address;
    char service[8];
    if ((peer ? getpeername(descriptor, name, &length) : getsockname(descriptor, name, &length)) < 0) {
        return -errno;
    }
    if (address.ss_family == AF_UNIX) {
        // A client's end has no name; the server's is its path.
        snprintf(host, capacity, "unix:%s", ((struct sockaddr_un *)&address)->sun_path);
        return 0;
    }
    if (getnameinfo(name, length, host, (socklen_t)capacity, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV)
        != 0) {
        return -EAFNOSUPPORT;
    }
    int port = 0;
    for (const char *digit = service; *digit >= '0' && *digit <= '9'; digit++) {
        port = port * 10 + (*digit - '0');
    }
    return port;
}
