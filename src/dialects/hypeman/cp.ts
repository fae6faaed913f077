/**
 * cp over a WebSocket: one file or directory entry *to* the guest, or a whole tree *from* it.
 *
 *   to:    C text {"direction":"to","guest_path","is_dir","mode",…}   C binary …   C text {"type":"end"}
 *          S text {"type":"result","success":true,"bytes_written":N}
 *   from:  C text {"direction":"from","guest_path","follow_links"}
 *          S per entry: text {"type":"header",…}   binary …   text {"type":"end","final":false}; last: true
 *   error: S text {"type":"error","message","path"}
 *
 * The vendor's TypeScript client takes any frame that parses as JSON for a message, even a binary one, and so
 * would lose a file that is a JSON document. No binary frame sent here is a complete JSON document.
 */
import { posix } from 'node:path'
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Caller } from '../../engine/api.ts'
import type { CopyEntry, CopyItem } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import { parseJson, readerOf } from './body.ts'
import { FIRST_MESSAGE_WAIT_MS } from './exec.ts'
import { ClientSocket } from './client-socket.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

const CHUNK_BYTES = 32 * 1024
const DEFAULT_FILE_MODE = 0o644
const DEFAULT_DIRECTORY_MODE = 0o755
/**
 * How long the client may take to close after the last entry. The vendor's client still writes its file then, and
 * takes a close that comes first for a copy that broke off.
 */
const FINAL_WAIT_MS = 10_000
const MODE_BITS = 0o7777
const OPENING_BRACE = 0x7b
const OPENING_BRACKET = 0x5b

const readCpStart = readerOf(wire.CpStart)

export async function serveCp(surface: Surface, socket: WebSocket, request: FastifyRequest, instanceId: InstanceId): Promise<void> {
  const messages = new ClientSocket(socket, surface.options.stopping)
  try {
    await copy(surface, messages, callerOf(request), instanceId)
  } catch (error) {
    if (!messages.gone.aborted) request.log.warn({ err: error, instance: instanceId }, 'a copy broke off')
  } finally {
    messages.close()
  }
}

async function copy(surface: Surface, messages: ClientSocket, caller: Caller, instanceId: InstanceId): Promise<void> {
  const first = await messages.first(FIRST_MESSAGE_WAIT_MS)
  if (first === null) return
  if (!first.isText) return sendError(messages, 'first message must be JSON text')
  let start: wire.CpStart
  try {
    start = readCpStart(parseJson(first.data), 'first message')
  } catch (error) {
    return sendError(messages, `invalid JSON: ${asBerthError(error).message}`)
  }
  switch (start.direction) {
    case 'to':
      return copyTo(surface, messages, caller, instanceId, start)
    case 'from':
      return copyFrom(surface, messages, caller, instanceId, start)
    default:
      return sendError(messages, `invalid direction: ${start.direction} (must be 'to' or 'from')`)
  }
}

// --- to the guest ---------------------------------------------------------------------------------------------

async function copyTo(surface: Surface, messages: ClientSocket, caller: Caller, id: InstanceId, start: wire.CpStart): Promise<void> {
  const isDirectory = start.is_dir ?? false
  try {
    const there = await surface.engine.instances.stat(caller, id, start.guest_path, { followLinks: true })
    if (!isDirectory && there.kind === 'directory') throw new BerthError('guest_path', `cannot copy file: ${start.guest_path} is a directory`)
    if (isDirectory && there.kind === 'file') throw new BerthError('guest_path', `cannot create directory: ${start.guest_path} is a file`)
    const { bytesWritten } = await surface.engine.instances.copyIn(caller, id, start.guest_path, receive(messages, start))
    await messages.sendText({ type: 'result', success: true, bytes_written: bytesWritten })
  } catch (error) {
    const known = asBerthError(error)
    if (!messages.gone.aborted) await messages.sendText({ type: 'result', success: false, error: known.message })
  }
}

/** The entry that the client announced, then its bytes; ends at `{"type":"end"}`, and nowhere else. */
async function* receive(messages: ClientSocket, start: wire.CpStart): AsyncGenerator<CopyItem, void, undefined> {
  yield { type: 'entry', entry: announcedEntry(start) }
  for (let message = await messages.next(); message !== null; message = await messages.next()) {
    if (!message.isText) {
      if (message.data.length > 0) yield { type: 'data', data: message.data }
      continue
    }
    if (isEnd(message.data)) return
  }
  throw new BerthError('cancelled', 'client disconnected before completing transfer')
}

function announcedEntry(start: wire.CpStart): CopyEntry {
  const isDirectory = start.is_dir ?? false
  const mode = (start.mode ?? 0) & MODE_BITS
  const uid = start.uid ?? 0
  const gid = start.gid ?? 0
  // Ownership changes only when both are given and neither is root, as upstream does it.
  const owned = uid > 0 && gid > 0
  return {
    path: '',
    kind: isDirectory ? 'directory' : 'file',
    mode: mode === 0 ? (isDirectory ? DEFAULT_DIRECTORY_MODE : DEFAULT_FILE_MODE) : mode,
    uid: owned ? uid : null,
    gid: owned ? gid : null,
    // The wire doesn't say how long the file will be: its end is the end.
    sizeBytes: 0,
    mtimeSeconds: Math.floor(Date.now() / 1000),
    linkTarget: null,
  }
}

function isEnd(data: Buffer): boolean {
  try {
    const message = parseJson(data)
    return typeof message === 'object' && message !== null && 'type' in message && message.type === 'end'
  } catch {
    // Upstream ignores text that it doesn't know.
    return false
  }
}

// --- from the guest -------------------------------------------------------------------------------------------

async function copyFrom(surface: Surface, messages: ClientSocket, caller: Caller, id: InstanceId, start: wire.CpStart): Promise<void> {
  const rootName = posix.basename(posix.normalize(start.guest_path))
  const followLinks = start.follow_links ?? false
  let isOpen = false
  try {
    const there = await surface.engine.instances.stat(caller, id, start.guest_path, { followLinks })
    if (!there.exists) {
      return await sendError(messages, `stat: lstat ${start.guest_path}: no such file or directory`, start.guest_path)
    }
    for await (const item of await surface.engine.instances.copyOut(caller, id, start.guest_path, { followLinks })) {
      switch (item.type) {
        case 'entry':
          if (isOpen) await messages.sendText({ type: 'end', final: false })
          isOpen = true
          await messages.sendText(header(item.entry, rootName))
          break
        case 'data':
          await sendChunks(messages, item.data)
          break
        case 'error':
          await sendError(messages, item.message, item.path)
          break
      }
    }
    if (!isOpen) return
    await messages.sendText({ type: 'end', final: true })
    await messages.clientClosed(FINAL_WAIT_MS)
  } catch (error) {
    if (!messages.gone.aborted) await sendError(messages, asBerthError(error).message, start.guest_path)
  }
}

function header(entry: CopyEntry, rootName: string): Readonly<Record<string, unknown>> {
  const path = [rootName === '/' ? '' : rootName, entry.path].filter(part => part !== '').join('/')
  return {
    type: 'header',
    path: path === '' ? '.' : path,
    mode: entry.mode,
    is_dir: entry.kind === 'directory',
    size: entry.kind === 'file' ? entry.sizeBytes : 0,
    mtime: entry.mtimeSeconds,
    ...(entry.kind === 'symlink' ? { is_symlink: true, link_target: entry.linkTarget ?? '' } : {}),
    ...(entry.uid === null || entry.uid === 0 ? {} : { uid: entry.uid }),
    ...(entry.gid === null || entry.gid === 0 ? {} : { gid: entry.gid }),
  }
}

async function sendChunks(messages: ClientSocket, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length; at += CHUNK_BYTES) {
    for (const frame of unmistakable(data.subarray(at, at + CHUNK_BYTES))) await messages.sendBinary(frame)
  }
}

/** The same bytes in frames of which none is a JSON document: what is one loses its opening to a frame of its own. */
export function unmistakable(chunk: Uint8Array): readonly Uint8Array[] {
  const opening = chunk[0]
  if (opening !== OPENING_BRACE && opening !== OPENING_BRACKET) return [chunk]
  try {
    JSON.parse(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString())
  } catch {
    return [chunk]
  }
  return [chunk.subarray(0, 1), chunk.subarray(1)]
}

function sendError(messages: ClientSocket, message: string, path?: string): Promise<void> {
  return messages.sendText({ type: 'error', message, ...(path === undefined ? {} : { path }) })
}
