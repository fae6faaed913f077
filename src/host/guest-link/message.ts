/** Requests to the agent as bytes, and its answers as our types. */
import { constants } from 'node:os'
import type { CopyEntry, ExecExit, ExecRequest, PathInfo } from '../../engine/host-port.ts'
import { BerthError, type ErrorCode } from '../../instance/errors.ts'
import type { AppExit } from '../../instance/model.ts'
import type { AppRequest, GuestConfig, GuestMemory, GuestModule, GuestNetwork, GuestShare, GuestStatus, GuestVolume } from './guest-config.ts'
import { ENTRY_KINDS, GUEST_STATES, MODE_NFS, TAG, VOLUME_MODES } from './protocol.ts'
import { TlvFields, TlvWriter } from './tlv.ts'

export function encodeConfig(config: GuestConfig, entropy: Uint8Array, nowMs: number): Buffer {
  const writer = encodeClockInto(new TlvWriter(), entropy, nowMs)
    .text(TAG.hostname, config.hostname)
    .text(TAG.machineId, config.machineId)
  if (config.network !== null) writer.bytes(TAG.net, encodeNetwork(config.network))
  for (const server of config.dns) writer.text(TAG.dns, server)
  const root = new TlvWriter().text(TAG.disk, config.root.serial)
  if (config.root.overlaySerial !== null) root.text(TAG.diskOverlay, config.root.overlaySerial)
  writer.bytes(TAG.root, root.finish())
  for (const volume of config.volumes) writer.bytes(TAG.volume, encodeVolume(volume))
  for (const key of config.sshKeys ?? []) writer.text(TAG.sshKey, key)
  return writer.finish()
}

export function encodeClock(entropy: Uint8Array, nowMs: number): Buffer {
  return encodeClockInto(new TlvWriter(), entropy, nowMs).finish()
}

function encodeClockInto(writer: TlvWriter, entropy: Uint8Array, nowMs: number): TlvWriter {
  // Milliseconds with fractions: the integer part alone would survive the multiplication.
  const whole = Math.floor(nowMs)
  const nanoseconds = BigInt(whole) * 1_000_000n + BigInt(Math.floor((nowMs - whole) * 1_000_000))
  return writer.bytes(TAG.entropy, entropy).number(TAG.clock, nanoseconds)
}

function encodeNetwork(network: GuestNetwork): Buffer {
  const writer = new TlvWriter()
    .text(TAG.netMac, network.mac)
    .text(TAG.netAddress, network.ip)
    .number(TAG.netPrefix, network.prefixLength)
  if (network.gateway !== null) writer.text(TAG.netGateway, network.gateway)
  if (network.mtu !== null) writer.number(TAG.netMtu, network.mtu)
  return writer.finish()
}

export function encodeVolume(volume: GuestVolume): Buffer {
  const writer = new TlvWriter()
    .text(TAG.disk, volume.serial)
    .text(TAG.diskPath, volume.path)
    .number(TAG.diskMode, VOLUME_MODES.indexOf(volume.mode))
  if (volume.overlaySerial !== null) writer.text(TAG.diskOverlay, volume.overlaySerial)
  return writer.finish()
}

export function encodeShare(share: GuestShare): Buffer {
  return new TlvWriter()
    .text(TAG.disk, share.source)
    .text(TAG.diskPath, share.path)
    .number(TAG.diskMode, MODE_NFS)
    .text(TAG.diskOptions, share.options)
    .finish()
}

export function encodeModule(module: GuestModule): Buffer {
  return new TlvWriter().text(TAG.name, module.name).text(TAG.moduleOptions, module.options).bytes(TAG.module, module.image).finish()
}

export function encodeApp(app: AppRequest): Buffer {
  const writer = new TlvWriter()
  encodeCommand(writer, app.command, app.env)
  if (app.workingDir !== '') writer.text(TAG.cwd, app.workingDir)
  if (app.user !== '') writer.text(TAG.user, app.user)
  const signal = signalNumber(app.stopSignal)
  if (signal !== null) writer.number(TAG.stopSignal, signal)
  if (app.firstScript !== undefined && app.firstScript !== null) writer.text(TAG.firstScript, app.firstScript)
  return writer.finish()
}

/** `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` → its number; null if it is none. */
export function signalNumber(name: string | null): number | null {
  if (name === null) return null
  if (/^\d{1,2}$/.test(name)) return Number(name) >= 1 && Number(name) <= 64 ? Number(name) : null
  const full = name.toUpperCase().startsWith('SIG') ? name.toUpperCase() : `SIG${name.toUpperCase()}`
  const realtime = /^SIGRTMIN\+(\d{1,2})$/.exec(full)
  if (realtime !== null) return 34 + Number(realtime[1]) <= 64 ? 34 + Number(realtime[1]) : null
  return Object.entries(constants.signals).find(([known]) => known === full)?.[1] ?? null
}

export function encodeExec(request: ExecRequest, windowBytes: number): Buffer {
  const writer = new TlvWriter().number(TAG.window, windowBytes).number(TAG.inherit, 1)
  encodeCommand(writer, request.command, request.env)
  if (request.workingDir !== null) writer.text(TAG.cwd, request.workingDir)
  if (request.user !== null) writer.text(TAG.user, request.user)
  if (request.tty !== null) writer.number(TAG.tty, clampSize(request.tty.rows) * 65_536 + clampSize(request.tty.cols))
  if (request.timeoutMs !== null) writer.number(TAG.timeout, Math.max(1, Math.ceil(request.timeoutMs)))
  return writer.finish()
}

export function clampSize(count: number): number {
  return Number.isFinite(count) ? Math.min(65_535, Math.max(0, Math.trunc(count))) : 0
}

function encodeCommand(writer: TlvWriter, command: readonly string[], env: Readonly<Record<string, string>>): void {
  if (command.length === 0 || command[0] === '') throw new BerthError('invalid_request', 'The command is empty: give at least a program.')
  for (const argument of command) writer.text(TAG.arg, argument)
  for (const [name, value] of Object.entries(env)) {
    if (name === '' || name.includes('=')) {
      throw new BerthError('invalid_request', `"${name}" is not a name for an environment variable.`)
    }
    writer.text(TAG.env, `${name}=${value}`)
  }
}

interface PathOptions {
  readonly followLinks?: boolean
  readonly shallow?: boolean
  readonly windowBytes?: number
}

export function encodePath(path: string, options: PathOptions): Buffer {
  if (!path.startsWith('/')) throw new BerthError('guest_path', `"${path}" is not an absolute path in the guest.`)
  const writer = new TlvWriter().text(TAG.path, path).number(TAG.follow, options.followLinks === true ? 1 : 0)
  if (options.shallow === true) writer.number(TAG.shallow, 1)
  if (options.windowBytes !== undefined) writer.number(TAG.window, options.windowBytes)
  return writer.finish()
}

export function encodeEntry(entry: CopyEntry): Buffer {
  if (entry.path.startsWith('/') || entry.path.split('/').includes('..')) {
    throw new BerthError('guest_path', `"${entry.path}" leaves the directory it is copied to.`)
  }
  const writer = new TlvWriter()
    .text(TAG.path, entry.path)
    .number(TAG.kind, ENTRY_KINDS.indexOf(entry.kind))
    .number(TAG.mode, entry.mode & 0o7777)
    .number(TAG.size, Math.max(0, Math.trunc(entry.sizeBytes)))
    .number(TAG.mtime, Math.max(0, Math.trunc(entry.mtimeSeconds)))
  if (entry.uid !== null) writer.number(TAG.uid, entry.uid)
  if (entry.gid !== null) writer.number(TAG.gid, entry.gid)
  if (entry.linkTarget !== null) writer.text(TAG.target, entry.linkTarget)
  return writer.finish()
}

export function decodeEntry(body: Uint8Array): CopyEntry | null {
  const fields = new TlvFields(body)
  const kind = ENTRY_KINDS[fields.number(TAG.kind) ?? -1]
  if (kind === undefined || kind === 'other') return null
  return {
    path: fields.text(TAG.path) ?? '',
    kind,
    mode: fields.number(TAG.mode) ?? 0,
    uid: fields.number(TAG.uid),
    gid: fields.number(TAG.gid),
    sizeBytes: kind === 'file' ? (fields.number(TAG.size) ?? 0) : 0,
    mtimeSeconds: fields.number(TAG.mtime) ?? 0,
    linkTarget: fields.text(TAG.target),
  }
}

/** An empty body says that there is nothing at the path. */
export function decodePathInfo(body: Uint8Array, error: string | null): PathInfo {
  const fields = new TlvFields(body)
  return {
    exists: body.length > 0,
    kind: ENTRY_KINDS[fields.number(TAG.kind) ?? -1] ?? null,
    mode: fields.number(TAG.mode) ?? 0,
    sizeBytes: fields.number(TAG.size) ?? 0,
    uid: fields.number(TAG.uid) ?? 0,
    gid: fields.number(TAG.gid) ?? 0,
    mtimeSeconds: fields.number(TAG.mtime) ?? 0,
    linkTarget: fields.text(TAG.target),
    error,
  }
}

export function decodeStatus(body: Uint8Array): GuestStatus & { readonly protocol: number } {
  const fields = new TlvFields(body)
  return {
    protocol: fields.number(TAG.protocol) ?? 0,
    state: GUEST_STATES[fields.number(TAG.state) ?? 0] ?? 'unconfigured',
    exit: fields.number(TAG.exitCode) === null ? null : decodeAppExit(body),
    agentVersion: fields.text(TAG.agentVersion) ?? '',
    kernel: fields.text(TAG.kernel) ?? '',
  }
}

/** The agent's word for how the application ended, as the instance model says it. */
export function appExit(code: number, signal: number, reason: string): AppExit {
  return { code, signal: signal === 0 ? null : signal, message: reason.replaceAll('-', ' ') }
}

export function decodeAppExit(body: Uint8Array): AppExit {
  const fields = new TlvFields(body)
  return appExit(fields.number(TAG.exitCode) ?? 255, fields.number(TAG.exitSignal) ?? 0, fields.text(TAG.exitReason) ?? 'exited')
}

export function decodeExecExit(body: Uint8Array): ExecExit {
  const fields = new TlvFields(body)
  const signal = fields.number(TAG.exitSignal) ?? 0
  return { code: fields.number(TAG.exitCode) ?? 255, signal: signal === 0 ? null : signal, timedOut: fields.number(TAG.timedOut) === 1 }
}

export function decodeMemory(body: Uint8Array): GuestMemory {
  const fields = new TlvFields(body)
  return { totalBytes: fields.number(TAG.memoryTotal) ?? 0, availableBytes: fields.number(TAG.memoryAvailable) ?? 0 }
}

/** The agent's error numbers (guest/proto.h) in the catalogue's words. */
const ERRORS: Readonly<Record<number, { readonly code: ErrorCode; readonly exitCode?: number }>> = {
  1: { code: 'invalid_request' },
  2: { code: 'invalid_state' },
  3: { code: 'command_not_found', exitCode: 127 },
  4: { code: 'guest_path', exitCode: 126 },
  5: { code: 'guest_path' },
  6: { code: 'invalid_request' },
  7: { code: 'volume_in_use' },
  8: { code: 'device_not_found' },
  9: { code: 'limit_exceeded' },
  10: { code: 'internal' },
  11: { code: 'not_supported' },
}

export function decodeError(body: Uint8Array): BerthError {
  const fields = new TlvFields(body)
  const known = ERRORS[fields.number(TAG.errorCode) ?? 0] ?? { code: 'internal' as const }
  const message = fields.text(TAG.message) ?? 'the guest gave no reason'
  return new BerthError(known.code, message, known.exitCode === undefined ? {} : { details: { exitCode: known.exitCode } })
}
