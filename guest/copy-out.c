// COPY OUT and STAT: the walk over a file or tree, told as records. What can't be read becomes an error
// record, and the walk goes on.
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 8192
#define MAX_DEPTH 256

static struct {
    bool follow, shallow, gone;  // gone: nobody listens any more
    struct { dev_t device; ino_t inode; } above[MAX_DEPTH];  // the directories that lead here
} walk;

static int kind_of(mode_t mode) {
    return S_ISREG(mode) ? KIND_FILE : S_ISDIR(mode) ? KIND_DIRECTORY : S_ISLNK(mode) ? KIND_SYMLINK : KIND_OTHER;
}

// The fields of an entry; `inner` is null where it has no path (STAT).
static size_t describe(uint8_t *body, size_t capacity, const char *inner, const char *path, const struct stat *info) {
    char target[4096];
    struct tlv_writer writer = tlv_writer(body, capacity);
    if (inner) tlv_put_text(&writer, T_PATH, inner);
    tlv_put_number(&writer, T_KIND, (uint64_t)kind_of(info->st_mode));
    tlv_put_number(&writer, T_MODE, info->st_mode & 07777);
    tlv_put_number(&writer, T_UID, info->st_uid);
    tlv_put_number(&writer, T_GID, info->st_gid);
    tlv_put_number(&writer, T_SIZE, (uint64_t)info->st_size);
    tlv_put_number(&writer, T_MTIME, info->st_mtime > 0 ? (uint64_t)info->st_mtime : 0);
    if (S_ISLNK(info->st_mode)) {
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        tlv_put_text(&writer, T_TARGET, target);
    }
    return writer.length;
}

static void tell_error(const char *inner, const char *text) {
    record_fail(E_PATH, inner, "%s", text);
}

static void send_entry(const char *inner, const char *path, const struct stat *info) {
    static uint8_t body[16384];
    if (!record_write(R_ENTRY, body, describe(body, sizeof body, inner, path, info))) walk.gone = true;
}

static void send_file(const char *inner, const char *path, const struct stat *info) {
    static uint8_t bytes[RECORD_DATA_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (walk.follow ? 0 : O_NOFOLLOW));
    if (fd < 0) return tell_error(inner, strerror(errno));
    send_entry(inner, path, info);
    while (!walk.gone) {
        ssize_t count = read(fd, bytes, sizeof bytes);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) tell_error(inner, strerror(errno));
        if (count <= 0) break;
        if (!record_write(R_DATA, bytes, (size_t)count)) walk.gone = true;
    }
    close(fd);
}

static void visit(char *inner, char *path, int depth);

static void visit_directory(char *inner, char *path, int depth, const struct stat *info) {
    if (depth == MAX_DEPTH) return tell_error(inner, "the directories are nested too deep");
    for (int i = 0; i < depth; i++) {
        if (walk.above[i].device == info->st_dev && walk.above[i].inode == info->st_ino) {
            return tell_error(inner, "the link leads back to a directory above it");
        }
    }
    walk.above[depth].device = info->st_dev;
    walk.above[depth].inode = info->st_ino;
    DIR *dir = opendir(path);
    if (!dir) return tell_error(inner, strerror(errno));
    send_entry(inner, path, info);
    size_t path_length = strlen(path), inner_length = strlen(inner);
    const char *path_slash = path[path_length - 1] == '/' ? "" : "/";
    for (struct dirent *entry = readdir(dir); entry && !walk.gone; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        int used = snprintf(path + path_length, PATH_SIZE - path_length, "%s%s", path_slash, entry->d_name);
        int told = snprintf(inner + inner_length, PATH_SIZE - inner_length, "%s%s", inner_length ? "/" : "", entry->d_name);
        if (used + path_length < PATH_SIZE && told + inner_length < PATH_SIZE / 2) visit(inner, path, depth + 1);
        path[path_length] = inner[inner_length] = 0;
    }
    closedir(dir);
}

static void visit(char *inner, char *path, int depth) {
    struct stat info;
    bool is_listed = walk.shallow && depth > 0;
    if ((walk.follow && !is_listed ? stat(path, &info) : lstat(path, &info)) < 0) return tell_error(inner, strerror(errno));
    if (is_listed && kind_of(info.st_mode) != KIND_OTHER) return send_entry(inner, path, &info);
    switch (kind_of(info.st_mode)) {
    case KIND_DIRECTORY: return visit_directory(inner, path, depth, &info);
    case KIND_SYMLINK: return send_entry(inner, path, &info);
    case KIND_FILE: return send_file(inner, path, &info);
    default: return tell_error(inner, "it is neither a file nor a directory nor a link");
    }
}

int work_copy_out(const void *body, size_t length) {
    static char path[PATH_SIZE], inner[PATH_SIZE];
    struct path_request request;
    const char *wrong = decode_path(body, length, &request);
    if (wrong) return record_fail(E_BAD_REQUEST, "", "%s", wrong);
    if (strlen(request.path) >= PATH_SIZE / 2) return record_fail(E_PATH, "", "the path is too long");
    walk.follow = request.follow;
    walk.shallow = request.shallow;
    strcpy(path, request.path);
    visit(inner, path, 0);
    return record_write(R_END, NULL, 0) ? 0 : 1;
}

int work_stat(const void *body, size_t length) {
    uint8_t fields[8192];
    struct path_request request;
    struct stat info;
    const char *wrong = decode_path(body, length, &request);
    if (wrong) return record_fail(E_BAD_REQUEST, "", "%s", wrong);
    int result = request.follow ? stat(request.path, &info) : lstat(request.path, &info);
    if (result < 0 && (errno == ENOENT || errno == ENOTDIR)) return record_write(R_RESULT, NULL, 0) ? 0 : 1;
    if (result < 0) return record_fail(E_PATH, request.path, "%s", strerror(errno));
    return record_write(R_RESULT, fields, describe(fields, sizeof fields, NULL, request.path, &info)) ? 0 : 1;
}
