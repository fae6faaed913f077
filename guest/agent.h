// What the parts of the agent share: its state, and who offers what.
#pragma once
#include "frame.h"
#include "loop.h"
#include "message.h"
#include "proto.h"
#include <stdarg.h>
#include <sys/types.h>

#define TEXT_MAX 1024
#define MAX_FILES 524288  // hard limit of open files for what runs in the guest
#define CONFINED_DIR "/dev/.berth"  // mount points of our own; what is in there is closed to others where it must be
#define PRIVATE_DIR CONFINED_DIR "/private"  // on the instance's disk, beside what its image sees: root's alone

struct app_exit {
    int code, signal;
    const char *reason;  // one word
};

struct agent {
    enum guest_state state;
    struct app_exit exit;
    int app_cgroup, exec_cgroup;  // directories, or -1
    int boot_root;                // the initramfs, for modules that are asked for later
    bool root_mounted;            // the image's root is there already, and still nobody's (a template of an image)
    pid_t init_pid;               // the application if it is an init in namespaces of its own, or 0
    char **app_env;               // null-terminated; what an exec inherits
    bool ending;                  // the guest is on its way to power-off
};
extern struct agent agent;

// main.c
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));  // one line to the console
void deliver_child(pid_t pid, int status);  // to whoever started it
void reap_children(void);
bool write_file(const char *path, const char *text);
ssize_t read_file(const char *path, char *buffer, size_t size);  // zero-terminated; -1 on failure

// link.c: the port to the host
bool link_open(void);
void link_pump(void);
bool link_idle(void);              // nothing waits to be written
size_t link_room(void);            // bytes that an output frame may carry now; 0 if the host is slow
uint8_t *link_reserve(void);       // where the payload of an output frame goes (FRAME_PAYLOAD_MAX bytes)
void link_commit(uint8_t type, uint32_t channel, size_t length);
void link_send(uint8_t type, uint32_t channel, const void *payload, size_t length);  // small, never refused
void link_send_u32(uint8_t type, uint32_t channel, uint32_t value);
void link_error(uint32_t channel, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void link_fatal(const char *text);
void link_close(void);

// request.c
void handle_frame(const struct frame *frame);
void requests_reset(void);
size_t describe_state(void *bytes, size_t capacity);  // the fields of HELLO
size_t describe_exit(void *bytes, size_t capacity);   // the fields of APP_EXIT

// session.c: everything that has a channel of its own: commands and file operations
void session_exec(uint32_t channel, struct exec_spec *spec);
void session_work(uint32_t channel, uint32_t window, bool has_input, int (*work)(const void *body, size_t length),
                  const void *body, size_t length);
void session_frame(const struct frame *frame);
bool session_child(pid_t pid, int status);
bool sessions_pump(void);  // whether anything moved
bool sessions_busy(void);  // output or an exit is still to be told
void sessions_kill_all(void);

// spawn.c: the making of processes
struct spawn {
    const struct exec_spec *spec;
    int in, out, err;  // become 0, 1, 2; with a terminal all are its slave
    bool terminal;
    bool make_cwd;     // create the working directory if it isn't there
    bool own_init;     // process 1 of its own namespaces
    int cgroup;        // directory, or -1
    bool held;         // the streams and the cgroup are those of the process that spawn_hold made
    int status_fd;     // out: where spawn_report comes from; end of file means that the program runs
};
#define MAX_GROUPS 256
struct identity {
    uid_t uid;
    gid_t gid;
    char home[1024];
    gid_t groups[MAX_GROUPS];
    int group_count;
};
enum spawn_step { STEP_PID = 1, STEP_USER, STEP_CWD, STEP_PROGRAM, STEP_INTERPRETER, STEP_SETUP };
struct spawn_report {
    int32_t step, value;  // the pid, or errno
};
pid_t spawn(struct spawn *request);
void spawn_learn_users(void);
bool spawn_hold(struct spawn *request);  // a process that waits for the program it will run: one at a time
void spawn_let_go(void);                 // it will run none
// child.c: the same without a copy of the agent; -1 and errno if it can't
pid_t child_start(const struct spawn *request, const struct identity *who, char *const *env, const char *directories, int status_fd);
pid_t child_hold(const struct spawn *request, int status_fd);
pid_t child_go(const struct spawn *request, const struct identity *who, char *const *env, const char *directories);
void child_let_go(void);
void child_reaped(pid_t pid);
pid_t spawn_worker(int in, int out, int (*work)(const void *, size_t), const void *body, size_t length, bool in_app);
int open_pipe(int ends[2], bool nonblocking_read, bool nonblocking_write);
void spawn_failure(const struct spawn_report *report, const char *program, const char *user, const char *cwd,
                   enum error_code *code, char *text, size_t size);
int spawn_report_read(int fd, struct spawn_report *report);  // 1, 0 when the program runs, -1 when nothing is known yet
bool find_program(const char *name, char *const *env, char *path, size_t size);

// app.c
void app_expect(void);  // what can be known of the guest before there is an application
void app_hold(void);    // makes its process, which waits for what it will run
void app_start(uint32_t channel, struct exec_spec *spec);
void app_stop(uint64_t grace_ms);
bool app_child(pid_t pid, int status);
bool app_pump(void);
void app_power_off(void);

// ssh.c: who holds one of the instance's keys comes in on port 22
void ssh_mount(void);                                    // the server's files, before the image's root is there
void ssh_configure(const struct guest_config *config);   // the keys
void ssh_start(const struct exec_spec *app, bool init);  // listens, unless the image has a server of its own
bool ssh_child(pid_t pid);

// once.c: a program that runs once in an instance's life, beside the application
void once_start(const char *program);
bool once_child(pid_t pid, int status);
bool once_pump(void);

// log.c: the port that QEMU writes to a file
struct log_stream {
    const char *name;
    char *line;  // of LOG_LINE_MAX bytes
    size_t length;
};
#define LOG_LINE_MAX 16384
void log_open(void);
bool log_pump(void);
bool log_idle(void);
size_t log_room(void);  // bytes of application output that may be added now
void log_bytes(struct log_stream *stream, const char *bytes, size_t length);
void log_finish(struct log_stream *stream);  // what has no newline yet
void log_line(const char *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_close(void);

// config.c, clock.c
bool configure(const struct guest_config *config, char *wrong, size_t size);
bool renew(const struct guest_config *config, char *wrong, size_t size);
void keep_places(const struct guest_config *config);  // for what the next two write
void write_names(const struct guest_config *config);
void own_disk(const struct guest_config *config);
void add_entropy(const uint8_t *bytes, size_t length);
void set_clock(uint64_t unix_ns);
bool memory_info(uint64_t *total, uint64_t *available);

// mounts.c
void mount_early(void);
bool mount_root(const struct disk_spec *root, char *wrong, size_t size);
bool mount_volume(const struct disk_spec *volume, char *wrong, size_t size, enum error_code *code);
int unmount_path(const char *path);  // 0 or errno
void unmount_everything(void);
bool make_directories(const char *path, mode_t mode);
// Whether this is the first time on this instance's disk; from now on it isn't.
bool first_time(const char *what);
void freeze(bool frozen);

// disks.c
void find_fixed_disks(void);
bool find_disk(const char *serial, int64_t wait_ms, char *device, size_t size);
int open_port(const char *name, int64_t wait_ms);

// net.c
void prepare_network(void);
bool bring_up_loopback(void);
void bring_up_card(void);
bool bring_up_network(const struct net_spec *net, char *wrong, size_t size);
void take_down_network(const struct net_spec *net);

// rehearsal.c
bool rehearse(const struct guest_config *config, char *wrong, size_t size);

// modules.c
void load_modules(void);
bool load_late_module(const struct module_request *request, char *wrong, size_t size);

// Workers: each runs in a process of its own, reads records from 0 and writes records to 1.
int work_copy_in(const void *body, size_t length);   // copy-in.c
int work_copy_out(const void *body, size_t length);  // copy-out.c
int work_stat(const void *body, size_t length);      // copy-out.c
int work_mount(const void *body, size_t length);     // volumes.c
int work_unmount(const void *body, size_t length);   // volumes.c

// records.c
bool record_write(int kind, const void *payload, size_t length);
int record_fail(enum error_code code, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
int record_read(uint8_t *kind, uint8_t *payload, uint32_t *length);  // 1, 0 at the end, -1
bool link_has_input(void);         // more was there than one turn takes
