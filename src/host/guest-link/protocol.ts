/** The numbers of the link protocol (guest/PROTOCOL.md); guest/proto.h holds the same ones. */

export const PROTOCOL_VERSION = 1

export const HEADER_BYTES = 12
export const PAYLOAD_MAX_BYTES = 65_536
/** A request's body, over all its frames. */
export const REQUEST_MAX_BYTES = 4 * 1024 * 1024
/** What an output frame takes of the credit besides its length, so that tiny frames can't fill memory. */
export const FRAME_COST_BYTES = 128
export const NONCE_BYTES = 16
export const MIN_ENTROPY_BYTES = 32

/** Starts a handshake; never inside a payload (frame.ts splits one that holds it). */
export const HOST_MARKER = Buffer.from('42727468f1cac2b1a5dc9bdb91b58db6f7ee90a7f9bbafaa94fed4c6a68be786', 'hex')
/** Starts the guest's answer, followed by the host's nonce. */
export const GUEST_MARKER = Buffer.from('687472429ddbacc9f4e4b3afa8b0d8aef881e3c6cb9eadffb7bf86ddb5f385ce', 'hex')

export const FLAG_MORE = 0x01

export const FRAME = {
  data: 0x01,
  eof: 0x02,
  credit: 0x03,
  resize: 0x04,
  signal: 0x05,
  close: 0x06,
  configure: 0x10,
  appStart: 0x11,
  appStop: 0x12,
  exec: 0x13,
  copyIn: 0x14,
  copyOut: 0x15,
  stat: 0x16,
  mount: 0x17,
  unmount: 0x18,
  setClock: 0x19,
  memory: 0x1a,
  powerOff: 0x1b,
  freeze: 0x1c,
  thaw: 0x1d,
  ping: 0x1e,
  loadModule: 0x1f,
  renew: 0x20,
  sync: 0x21,
  rehearse: 0x22,
  mountRoot: 0x23,
  hello: 0x80,
  opened: 0x81,
  out: 0x82,
  err: 0x83,
  grant: 0x84,
  reply: 0x85,
  error: 0x86,
  exit: 0x87,
  appExit: 0x88,
  fatal: 0x8f,
} as const

export const TAG = {
  protocol: 1,
  agentVersion: 2,
  state: 3,
  exitCode: 4,
  exitSignal: 5,
  exitReason: 6,
  timedOut: 7,
  kernel: 8,
  errorCode: 9,
  message: 10,
  entropy: 20,
  clock: 21,
  hostname: 22,
  machineId: 23,
  net: 24,
  dns: 25,
  root: 26,
  volume: 27,
  netMac: 30,
  netAddress: 31,
  netPrefix: 32,
  netGateway: 33,
  netMtu: 34,
  disk: 40,
  diskOverlay: 41,
  diskPath: 42,
  diskMode: 43,
  diskOptions: 44,
  arg: 50,
  env: 51,
  cwd: 52,
  user: 53,
  tty: 54,
  timeout: 55,
  stopSignal: 56,
  grace: 57,
  window: 58,
  inherit: 59,
  path: 60,
  kind: 61,
  mode: 62,
  uid: 63,
  gid: 64,
  size: 65,
  mtime: 66,
  target: 67,
  follow: 68,
  bytes: 69,
  shallow: 70,
  memoryTotal: 80,
  memoryAvailable: 81,
  name: 82,
  module: 83,
  moduleOptions: 84,
  sshKey: 90,
  firstScript: 91,
} as const

/** By the guest's numbers. */
export const GUEST_STATES = ['unconfigured', 'configured', 'app-running', 'app-exited'] as const
export const VOLUME_MODES = ['rw', 'ro', 'overlay'] as const
/** Of MOUNT: not a disk but a file system that the host serves. */
export const MODE_NFS = 3
export const ENTRY_KINDS = ['file', 'directory', 'symlink', 'other'] as const

/** Records of a file operation's byte stream. */
export const RECORD = { entry: 1, data: 2, error: 3, end: 4, result: 5 } as const
export const RECORD_HEADER_BYTES = 8
export const RECORD_DATA_MAX_BYTES = PAYLOAD_MAX_BYTES - RECORD_HEADER_BYTES
