// COPY IN: entries and their bytes from the record stream become files, directories and links.
//
// A file is written under a temporary name beside its place and renamed when its last byte is there: it
// arrives whole or not at all, also when the host goes away in the middle.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 8192
#define MAX_DATED_DIRECTORIES 100000

struct dated { char *path; int64_t mtime; };

static struct {
    const char *root;
    int fd;  // the file that is being written, or -1
    char path[PATH_SIZE], temporary[PATH_SIZE];
    struct entry entry;
    uint64_t written;
    struct dated *directories;
    size_t directory_count;
} job = {.fd = -1};

static int refuse(const char *path, const char *what) {
    return record_fail(E_PATH, path, "%s %s: %s", what, path, errno == ENOSPC ? "no space left in the guest" : strerror(errno));
}

static bool place_of(const char *inner, char *path) {
    const char *slash = job.root[strlen(job.root) - 1] == '/' || !*inner ? "" : "/";
    if (snprintf(path, PATH_SIZE, "%s%s%s", job.root, slash, inner) >= PATH_SIZE - 64) return errno = ENAMETOOLONG, false;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') path[--length] = 0;
    return true;
}

static bool make_parents(const char *path) {
    char parent[PATH_SIZE];
    snprintf(parent, sizeof parent, "%s", path);
    return make_directories(dirname(parent), 0755);
}

// A name beside `path` that nothing else has.
static void temporary_for(const char *path) {
    static unsigned count;
    char parent[PATH_SIZE];
    snprintf(parent, sizeof parent, "%s", path);
    const char *directory = dirname(parent);
    snprintf(job.temporary, sizeof job.temporary, "%s/.berth-copy-%d-%u", strcmp(directory, "/") ? directory : "", getpid(), count++);
}

static struct timespec modified(int64_t mtime) { return (struct timespec){.tv_sec = (time_t)mtime}; }

// Before its failure is told: whoever hears of it finds the room free again. Leaves errno as it is.
static void drop_file(void) {
    int failure = errno;
    if (job.fd < 0) return;
    close(job.fd);
    unlink(job.temporary);
    job.fd = -1;
    errno = failure;
}

static int finish_file(void) {
    if (job.fd < 0) return 0;
    struct timespec times[2] = {modified(job.entry.mtime), modified(job.entry.mtime)};
    bool owned = fchown(job.fd, job.entry.uid, job.entry.gid) == 0;  // -1 keeps what it is
    bool done = owned && fchmod(job.fd, job.entry.mode == UINT32_MAX ? 0644 : job.entry.mode) == 0 &&
                futimens(job.fd, times) == 0 && rename(job.temporary, job.path) == 0;
    if (done) close(job.fd), job.fd = -1;
    else drop_file();
    return done ? 0 : refuse(job.path, "cannot copy file to");
}

static int start_file(const struct entry *entry, const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return record_fail(E_PATH, path, "cannot copy file: %s is a directory", path);
    if (!make_parents(path)) return refuse(path, "cannot make the directory for");
    temporary_for(path);
    job.fd = open(job.temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (job.fd < 0) return refuse(path, "cannot copy file to");
    job.entry = *entry;
    snprintf(job.path, sizeof job.path, "%s", path);
    return 0;
}

static int make_directory(const struct entry *entry, const char *path) {
    struct stat info;
    if (stat(path, &info) == 0) {
        // What is there keeps its mode and owner: a copy into /tmp doesn't change /tmp.
        return S_ISDIR(info.st_mode) ? 0 : record_fail(E_PATH, path, "cannot create directory: %s is a file", path);
    }
    if (!make_parents(path) || mkdir(path, 0755) < 0) return refuse(path, "cannot create directory");
    if (lchown(path, entry->uid, entry->gid) < 0) return refuse(path, "cannot set the owner of");
    if (chmod(path, entry->mode == UINT32_MAX ? 0755 : entry->mode) < 0) return refuse(path, "cannot set the mode of");
    if (job.directory_count == MAX_DATED_DIRECTORIES) return 0;
    // Its date is set at the end: files that arrive in it would change it.
    struct dated *grown = realloc(job.directories, (job.directory_count + 1) * sizeof *grown);
    if (!grown) return 0;
    job.directories = grown;
    job.directories[job.directory_count++] = (struct dated){.path = strdup(path), .mtime = entry->mtime};
    return 0;
}

static int make_link(const struct entry *entry, const char *path) {
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) return record_fail(E_PATH, path, "cannot create link: %s is a directory", path);
    if (!make_parents(path)) return refuse(path, "cannot make the directory for");
    temporary_for(path);
    if (symlink(entry->target, job.temporary) < 0) return refuse(path, "cannot create link");
    struct timespec times[2] = {modified(entry->mtime), modified(entry->mtime)};
    if (lchown(job.temporary, entry->uid, entry->gid) < 0 || utimensat(AT_FDCWD, job.temporary, times, AT_SYMLINK_NOFOLLOW) < 0 ||
        rename(job.temporary, path) < 0) {
        int failure = errno;
        unlink(job.temporary);
        errno = failure;
        return refuse(path, "cannot create link");
    }
    return 0;
}

static int take_entry(const uint8_t *body, uint32_t length) {
    struct entry entry;
    char path[PATH_SIZE];
    if (finish_file()) return 1;
    const char *wrong = decode_entry(body, length, &entry);
    if (wrong) return record_fail(E_BAD_REQUEST, "", "%s", wrong);
    if (!place_of(entry.path, path)) return refuse(job.root, "cannot copy to");
    switch (entry.kind) {
    case KIND_DIRECTORY: return make_directory(&entry, path);
    case KIND_SYMLINK: return make_link(&entry, path);
    default: return start_file(&entry, path);
    }
}

static int take_data(const uint8_t *bytes, size_t length) {
    if (job.fd < 0) return record_fail(E_BAD_REQUEST, "", "bytes came without a file");
    while (length > 0) {
        ssize_t count = write(job.fd, bytes, length);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            drop_file();
            return refuse(job.path, "cannot write");
        }
        bytes += count, length -= (size_t)count, job.written += (uint64_t)count;
    }
    return 0;
}

static int finish_all(void) {
    if (finish_file()) return 1;
    for (size_t i = job.directory_count; i-- > 0;) {
        struct timespec times[2] = {modified(job.directories[i].mtime), modified(job.directories[i].mtime)};
        // It may be gone again by now; then there is nothing to date.
        if (job.directories[i].path) utimensat(AT_FDCWD, job.directories[i].path, times, 0);
    }
    uint8_t body[64];
    struct tlv_writer writer = tlv_writer(body, sizeof body);
    tlv_put_number(&writer, T_BYTES, job.written);
    return record_write(R_RESULT, body, writer.length) ? 0 : 1;
}

int work_copy_in(const void *body, size_t length) {
    static uint8_t payload[RECORD_DATA_MAX];
    struct path_request request;
    uint8_t kind;
    uint32_t size;
    const char *wrong = decode_path(body, length, &request);
    if (wrong) return record_fail(E_BAD_REQUEST, "", "%s", wrong);
    job.root = request.path;
    int failed = 0;
    while (!failed) {
        if (record_read(&kind, payload, &size) != 1) {
            drop_file();
            failed = record_fail(E_BAD_REQUEST, request.path, "the copy was cut off before its end");
        } else if (kind == R_END) {
            failed = finish_all();
            break;
        } else {
            failed = kind == R_ENTRY ? take_entry(payload, size) : kind == R_DATA ? take_data(payload, size)
                   : record_fail(E_BAD_REQUEST, "", "an unknown record came");
        }
    }
    drop_file();
    return failed;
}
