/** Files in an instance: read one, write one, list a directory. Bounded, and whole or not at all where they write. */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { Capture, encode, encodingOf } from '../../engine/capture.ts'
import type { CopyItem } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import type { InstanceId } from '../../instance/model.ts'
import { findInstance } from '../resolve.ts'
import { GuestPath, InstanceWord } from '../schema.ts'
import { plain, shortened } from '../text.ts'
import { defineTool, requirePatience } from '../tool.ts'
import type { Tool, ToolContext } from '../tool.ts'

const READ_LIMIT_BYTES = 1_048_576
const WRITE_LIMIT_CHARACTERS = 2_097_152
const TEXT_LIMIT_CHARACTERS = 60_000
const ENTRIES_LIMIT = 1000
const DEPTH_LIMIT = 8
const LIST_TIMEOUT_MS = 30_000
/** Names and figures of as many entries as are listed, with room for long paths. */
const LIST_OUTPUT_LIMIT_BYTES = 4_194_304
/** What a walk without `find` reads of files' content before it gives up. */
const WALK_LIMIT_BYTES = 16_777_216
const NOT_FOUND_STATUSES = [126, 127]

const READS = { readOnly: true, destructive: false, idempotent: true, openWorld: false } as const

export const readFile = defineTool({
  name: 'read-file',
  title: 'Read a file of an instance',
  description: 'The content of one file, or of a part of it, as text or, if it is not text, in base64. An instance that sleeps is woken.',
  toolset: 'files',
  scope: 'exec',
  hints: READS,
  input: z.strictObject({
    id: InstanceWord,
    path: GuestPath,
    offset: z.int().default(0).describe('Byte to begin at; negative counts from the end'),
    max_bytes: z.int().min(1).max(READ_LIMIT_BYTES).default(65_536),
  }),
  output: z.strictObject({ content: z.string(), encoding: z.enum(['utf-8', 'base64']), size: z.int(), truncated: z.boolean() }),
  async run({ id, path, offset, max_bytes: maxBytes }, context) {
    const { engine, caller } = context
    const instance = await findInstance(engine, caller, id)
    context.note({ instance: instance.id })
    const info = await engine.instances.stat(caller, instance.id, path, { followLinks: true, wake: true })
    if (!info.exists) throw new BerthError('guest_path', info.error ?? `There is no ${quoteGo(path)} in the instance.`)
    if (info.kind !== 'file') throw new BerthError('guest_path', `${quoteGo(path)} is no file${info.kind === 'directory' ? ': list-files shows what is in it' : ''}.`)
    const capture = new Capture(maxBytes)
    const from = offset < 0 ? Math.max(0, info.sizeBytes + offset) : offset
    let before = from
    const items = await engine.instances.copyOut(caller, instance.id, path, { followLinks: true })
    for await (const item of items) {
      requirePatience(context.signal)
      if (item.type === 'error') throw new BerthError('guest_path', item.message)
      if (item.type !== 'data') continue
      const skipped = Math.min(before, item.data.length)
      before -= skipped
      capture.add(item.data.subarray(skipped))
      if (capture.totalBytes > maxBytes) break
    }
    const bytes = capture.bytes()
    const encoding = encodingOf(bytes)
    // Files of /proc say they are empty.
    const size = Math.max(info.sizeBytes, from - before + capture.totalBytes)
    const part = [...(from > 0 ? [`bytes from ${from} on`] : []), ...(capture.truncated ? [`cut; offset ${from + bytes.length} goes on`] : [])]
    const note = part.length === 0 ? '' : `\n[${part.join(', ')}; ${size} bytes in all]`
    const text = encoding === 'base64' ? `${size} bytes, not text; base64 in the structured output` : shortened(plain(bytes.toString()), TEXT_LIMIT_CHARACTERS) + note
    return { data: { content: encode(bytes, encoding), encoding, size, truncated: capture.truncated }, text }
  },
})

export const writeFile = defineTool({
  name: 'write-file',
  title: 'Write a file in an instance',
  description: 'Makes a file, with the directories above it; it arrives whole or not at all. Replaces one that is there only with overwrite; edit-file changes a part of it.',
  toolset: 'files',
  scope: 'exec',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: false },
  input: z.strictObject({
    id: InstanceWord,
    path: GuestPath,
    content: z.string().max(WRITE_LIMIT_CHARACTERS),
    encoding: z.enum(['utf-8', 'base64']).default('utf-8'),
    mode: z.string().regex(/^[0-7]{3,4}$/).default('644').describe('Permission bits, octal'),
    overwrite: z.boolean().default(false),
  }),
  output: z.strictObject({ path: z.string(), size: z.int() }),
  async run({ id, path, content, encoding, mode, overwrite }, context) {
    const { engine, caller } = context
    const instance = await findInstance(engine, caller, id)
    context.note({ instance: instance.id })
    if (encoding === 'base64' && !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(content)) throw new BerthError('invalid_request', 'content is not base64, which encoding says it is.')
    const data = Buffer.from(content, encoding)
    const info = await engine.instances.stat(caller, instance.id, path, { followLinks: true, wake: true })
    if (info.exists && info.kind !== 'file') throw new BerthError('guest_path', `${quoteGo(path)} is there and is no file.`)
    if (info.exists && !overwrite) throw new BerthError('already_exists', `${quoteGo(path)} is there already: say overwrite to replace it.`)
    requirePatience(context.signal)
    await engine.instances.copyIn(caller, instance.id, path, oneFile(data, Number.parseInt(mode, 8), context.now()))
    return { data: { path, size: data.length }, text: `Wrote ${data.length} bytes to ${path}.` }
  },
})

export async function* oneFile(data: Buffer, mode: number, now: number, owner: { readonly uid: number | null; readonly gid: number | null } = { uid: null, gid: null }): AsyncIterable<CopyItem> {
  const entry = { path: '', kind: 'file', mode, ...owner, sizeBytes: data.length, mtimeSeconds: Math.floor(now / 1000), linkTarget: null } as const
  yield { type: 'entry', entry }
  for (let at = 0; at < data.length; at += 65_536) yield { type: 'data', data: data.subarray(at, at + 65_536) }
}

const Entry = z.strictObject({
  path: z.string().describe('Below the directory that was asked for'),
  kind: z.enum(['file', 'directory', 'symlink', 'other']),
  size: z.int(),
  mode: z.string().describe('Octal'),
  modified_at: z.string(),
})
type Entry = z.output<typeof Entry>

export const listFiles = defineTool({
  name: 'list-files',
  title: 'List files of an instance',
  description: 'What is in a directory, and in those below it down to a depth. An instance that sleeps is woken.',
  toolset: 'files',
  scope: 'exec',
  hints: READS,
  input: z.strictObject({ id: InstanceWord, path: GuestPath, depth: z.int().min(1).max(DEPTH_LIMIT).default(1) }),
  output: z.strictObject({ entries: z.array(Entry), truncated: z.boolean() }),
  async run({ id, path, depth }, context) {
    const { engine, caller } = context
    const instance = await findInstance(engine, caller, id)
    context.note({ instance: instance.id })
    const info = await engine.instances.stat(caller, instance.id, path, { followLinks: true, wake: true })
    if (!info.exists) throw new BerthError('guest_path', info.error ?? `There is no ${quoteGo(path)} in the instance.`)
    if (info.kind !== 'directory') throw new BerthError('guest_path', `${quoteGo(path)} is no directory: read-file reads a file.`)
    const found = (await findEntries(context, instance.id, path, depth)) ?? (await walkEntries(context, instance.id, path, depth))
    const entries = found.entries.toSorted((a, b) => (a.path < b.path ? -1 : 1)).slice(0, ENTRIES_LIMIT)
    const truncated = found.truncated || found.entries.length > entries.length
    const lines = entries.map(entry => `${entry.mode} ${String(entry.size).padStart(10)} ${entry.path.replaceAll('\n', '?')}${entry.kind === 'directory' ? '/' : ''}`)
    const text = [...(lines.length === 0 ? ['Nothing.'] : lines), ...(truncated ? ['[there is more]'] : [])].join('\n')
    return { data: { entries, truncated }, text }
  },
})

interface Found {
  readonly entries: readonly Entry[]
  readonly truncated: boolean
}

/** With `find` and `stat` of the image; null if it has none. Records are told apart by a word that nobody can guess. */
async function findEntries({ engine, caller, signal }: ToolContext, id: InstanceId, path: string, depth: number): Promise<Found | null> {
  const mark = randomBytes(12).toString('hex')
  const root = path.endsWith('/') ? path : `${path}/`
  const command = ['find', root, '-mindepth', '1', '-maxdepth', String(depth), '-exec', 'stat', '-c', `${mark} %f %s %Y %n`, '{}', '+']
  const request = { command, env: { LC_ALL: 'C' }, workingDir: null, user: null, tty: null, timeoutMs: LIST_TIMEOUT_MS }
  const session = await engine.instances.exec(caller, id, request).catch((error: unknown) => {
    if (error instanceof BerthError && error.code === 'command_not_found') return null
    throw error
  })
  if (session === null) return null
  const output = new Capture(LIST_OUTPUT_LIMIT_BYTES)
  const close = () => session.close()
  signal.addEventListener('abort', close, { once: true })
  session.exit.catch(() => undefined)
  try {
    for await (const { stream, data } of session.output) {
      if (stream === 'stdout') output.add(data)
      if (output.truncated) break
    }
    requirePatience(signal)
    if (!output.truncated) {
      const exit = await session.exit
      requirePatience(signal)
      if (NOT_FOUND_STATUSES.includes(exit.code) && output.totalBytes === 0) return null
      // An image whose find knows no such options.
      if (exit.code !== 0 && output.totalBytes === 0) return null
    }
  } finally {
    signal.removeEventListener('abort', close)
    session.close()
  }
  const records = output.bytes().toString('utf-8').split(`${mark} `).slice(1)
  // The last one may have been cut.
  const whole = output.truncated ? records.slice(0, -1) : records
  return { entries: whole.flatMap(record => entryOf(record, root)), truncated: output.truncated }
}

function entryOf(record: string, root: string): readonly Entry[] {
  const match = /^([0-9a-f]+) (\d+) (-?\d+) ([\s\S]*?)\n?$/.exec(record)
  if (match === null) return []
  const [, rawMode = '0', size = '0', seconds = '0', name = ''] = match
  const bits = Number.parseInt(rawMode, 16)
  return [
    {
      path: name.startsWith(root) ? name.slice(root.length) : name,
      kind: kindOf(bits),
      size: Number(size),
      mode: octal(bits),
      modified_at: new Date(Number(seconds) * 1000).toISOString(),
    },
  ]
}

function kindOf(bits: number): Entry['kind'] {
  switch (bits & 0o170000) {
    case 0o100000:
      return 'file'
    case 0o040000:
      return 'directory'
    case 0o120000:
      return 'symlink'
    default:
      return 'other'
  }
}

function octal(bits: number): string {
  return (bits & 0o7777).toString(8).padStart(4, '0')
}

/** Through a copy of the tree, whose content is let go; for images without programs. */
async function walkEntries({ engine, caller, signal }: ToolContext, id: InstanceId, path: string, depth: number): Promise<Found> {
  const entries: Entry[] = []
  let readBytes = 0
  const items = await engine.instances.copyOut(caller, id, path, { followLinks: false })
  for await (const item of items) {
    requirePatience(signal)
    if (item.type === 'data') readBytes += item.data.length
    if (item.type === 'entry' && item.entry.path !== '' && item.entry.path.split('/').length <= depth) {
      const { entry } = item
      entries.push({ path: entry.path, kind: entry.kind, size: entry.sizeBytes, mode: octal(entry.mode), modified_at: new Date(entry.mtimeSeconds * 1000).toISOString() })
    }
    if (readBytes > WALK_LIMIT_BYTES || entries.length > ENTRIES_LIMIT) return { entries, truncated: true }
  }
  return { entries, truncated: false }
}

export const fileTools: readonly Tool[] = [listFiles, readFile, writeFile]
