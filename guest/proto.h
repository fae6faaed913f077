// The numbers of the link protocol (PROTOCOL.md). src/host/guest-link/protocol.ts holds the same ones.
#pragma once

#define PROTOCOL_VERSION 1

enum frame_type {
    // host to guest
    F_DATA = 0x01,       // bytes for a channel's input
    F_EOF = 0x02,        // end of a channel's input
    F_CREDIT = 0x03,     // u32: so much more output is welcome
    F_RESIZE = 0x04,     // u16 rows, u16 cols
    F_SIGNAL = 0x05,     // u32 signal number, to the process group
    F_CLOSE = 0x06,      // kill what runs and free the channel
    F_CONFIGURE = 0x10,
    F_APP_START = 0x11,
    F_APP_STOP = 0x12,
    F_EXEC = 0x13,
    F_COPY_IN = 0x14,
    F_COPY_OUT = 0x15,
    F_STAT = 0x16,
    F_MOUNT = 0x17,
    F_UNMOUNT = 0x18,
    F_SET_CLOCK = 0x19,
    F_MEMINFO = 0x1a,
    F_POWER_OFF = 0x1b,
    F_FREEZE = 0x1c,
    F_THAW = 0x1d,
    F_PING = 0x1e,
    F_LOAD_MODULE = 0x1f,
    F_RENEW = 0x20,
    F_SYNC = 0x21,
    F_REHEARSE = 0x22,   // fields of CONFIGURE; the guest stays blank
    F_MOUNT_ROOT = 0x23, // fields of CONFIGURE, of which the root counts, and that there is a network; the guest stays blank
    // guest to host
    F_HELLO = 0x80,      // channel 0: the first frame after a reset
    F_OPENED = 0x81,     // u32: credit for the channel's input
    F_OUT = 0x82,        // bytes of standard output, or of the record stream of a file operation
    F_ERR = 0x83,        // bytes of standard error
    F_GRANT = 0x84,      // u32: so much more input is welcome
    F_REPLY = 0x85,      // the answer to a request; ends the channel
    F_ERROR = 0x86,      // the refusal of a request; ends the channel
    F_EXIT = 0x87,       // the process of a channel ended; ends the channel
    F_APP_EXIT = 0x88,   // channel 0: the application ended
    F_FATAL = 0x8f,      // channel 0: the guest lost the thread; only a reset helps
};

#define FLAG_MORE 0x01   // the request's body goes on in the next frame of the channel

enum tag {
    T_PROTOCOL = 1, T_AGENT_VERSION = 2, T_STATE = 3, T_EXIT_CODE = 4, T_EXIT_SIGNAL = 5, T_EXIT_REASON = 6,
    T_TIMED_OUT = 7, T_KERNEL = 8, T_ERROR_CODE = 9, T_MESSAGE = 10,

    T_ENTROPY = 20, T_CLOCK = 21, T_HOSTNAME = 22, T_MACHINE_ID = 23, T_NET = 24, T_DNS = 25, T_ROOT = 26, T_VOLUME = 27,
    T_NET_MAC = 30, T_NET_ADDRESS = 31, T_NET_PREFIX = 32, T_NET_GATEWAY = 33, T_NET_MTU = 34,
    T_DISK = 40, T_DISK_OVERLAY = 41, T_DISK_PATH = 42, T_DISK_MODE = 43, T_DISK_OPTIONS = 44,

    T_ARG = 50, T_ENV = 51, T_CWD = 52, T_USER = 53, T_TTY = 54, T_TIMEOUT = 55, T_STOP_SIGNAL = 56, T_GRACE = 57,
    T_WINDOW = 58, T_INHERIT = 59,

    T_PATH = 60, T_KIND = 61, T_MODE = 62, T_UID = 63, T_GID = 64, T_SIZE = 65, T_MTIME = 66, T_TARGET = 67, T_FOLLOW = 68,
    T_BYTES = 69, T_SHALLOW = 70,

    T_MEM_TOTAL = 80, T_MEM_AVAILABLE = 81, T_NAME = 82, T_MODULE = 83, T_MODULE_OPTIONS = 84,

    T_SSH_KEY = 90, T_FIRST_SCRIPT = 91,
};

enum guest_state { STATE_UNCONFIGURED = 0, STATE_CONFIGURED = 1, STATE_APP_RUNNING = 2, STATE_APP_EXITED = 3 };

enum error_code {
    E_BAD_REQUEST = 1, E_BAD_STATE = 2, E_NOT_FOUND = 3, E_NOT_EXECUTABLE = 4, E_PATH = 5, E_USER = 6, E_BUSY = 7,
    E_NO_DEVICE = 8, E_LIMIT = 9, E_IO = 10, E_UNSUPPORTED = 11,
};

enum disk_mode { DISK_RW = 0, DISK_RO = 1, DISK_OVERLAY = 2, DISK_NFS = 3 };
enum entry_kind { KIND_FILE = 0, KIND_DIRECTORY = 1, KIND_SYMLINK = 2, KIND_OTHER = 3 };

// Records of a file operation's byte stream: u8 kind, 3 zero bytes, u32 length, then as many bytes.
enum record_kind { R_ENTRY = 1, R_DATA = 2, R_ERROR = 3, R_END = 4, R_RESULT = 5 };
#define RECORD_HEADER 8
#define RECORD_DATA_MAX (64 * 1024 - RECORD_HEADER)

// An output frame takes this much credit besides its length, so that tiny frames can't fill the host.
#define FRAME_COST 128
