// Kernel modules: those of /modules/order at boot; others when the host asks for them by name, or sends them.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int load_from(int root, const char *name) {
    char path[128];
    if (snprintf(path, sizeof path, "modules/%s.ko", name) >= (int)sizeof path) return ENAMETOOLONG;
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int wrong = syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST ? 0 : errno;
    close(fd);
    // Loaded for good: its file would only take memory.
    if (!wrong) unlinkat(root, path, 0);
    return wrong;
}

void load_modules(void) {
    static char order[8192];
    agent.boot_root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (read_file("/modules/order", order, sizeof order) < 0) return;
    for (char *name = strtok(order, "\n"); name; name = strtok(NULL, "\n")) {
        int wrong = load_from(agent.boot_root, name);
        if (wrong) say("module %s: %s", name, strerror(wrong));
    }
}

bool load_late_module(const struct module_request *request, char *wrong, size_t size) {
    int failure = 0;
    if (request->image) {
        long done = syscall(SYS_init_module, request->image, request->image_length, request->options);
        if (done != 0 && errno != EEXIST) failure = errno;
    } else {
        failure = strchr(request->name, '/') ? EINVAL : load_from(agent.boot_root, request->name);
    }
    if (failure) snprintf(wrong, size, "the kernel module %s: %s", request->name, strerror(failure));
    return !failure;
}
