// Hot-plugged volumes: workers that mount and unmount in the guest's own namespace, from where an
// application that is an init sees it, too.
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int work_mount(const void *body, size_t length) {
    struct disk_spec volume;
    char text[TEXT_MAX] = "";
    enum error_code code = E_IO;
    const char *wrong = decode_disk(body, length, &volume);
    if (wrong) return record_fail(E_BAD_REQUEST, "", "%s", wrong);
    if (!mount_volume(&volume, text, sizeof text, &code)) return record_fail(code, volume.path, "%s", text);
    return record_write(R_RESULT, NULL, 0) ? 0 : 1;
}

int work_unmount(const void *body, size_t length) {
    struct path_request request;
    const char *wrong = decode_path(body, length, &request);
    if (wrong) return record_fail(E_BAD_REQUEST, "", "%s", wrong);
    int failure = unmount_path(request.path);
    if (failure == EBUSY) return record_fail(E_BUSY, request.path, "files in %s are in use", request.path);
    // Not a mount point (any more): the unmount was done before.
    if (failure && failure != EINVAL && failure != ENOENT) return record_fail(E_IO, request.path, "%s: %s", request.path, strerror(failure));
    return record_write(R_RESULT, NULL, 0) ? 0 : 1;
}
