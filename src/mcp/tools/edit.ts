/** edit-file: a part of a text file replaced, so that a model need not read and write the whole of it. */
import { isUtf8 } from 'node:buffer'
import { z } from 'zod'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import type { InstanceId } from '../../instance/model.ts'
import { findInstance } from '../resolve.ts'
import { GuestPath, InstanceWord } from '../schema.ts'
import { defineTool, requirePatience } from '../tool.ts'
import type { ToolContext } from '../tool.ts'
import { oneFile } from './files.ts'

/** Of a file that can be edited, before and afterwards. */
const EDIT_LIMIT_BYTES = 4 * 1024 * 1024
const TEXT_LIMIT_CHARACTERS = 1_048_576

export const editFile = defineTool({
  name: 'edit-file',
  title: 'Change a part of a file of an instance',
  description: 'Replaces old_text, which must stand in the file exactly once (or everywhere, with all). The file keeps its mode and owner, and changes whole or not at all.',
  toolset: 'files',
  scope: 'exec',
  hints: { readOnly: false, destructive: true, idempotent: false, openWorld: false },
  input: z.strictObject({
    id: InstanceWord,
    path: GuestPath,
    old_text: z.string().min(1).max(TEXT_LIMIT_CHARACTERS).describe('As read-file tells it, with its spaces and line ends'),
    new_text: z.string().max(TEXT_LIMIT_CHARACTERS),
    all: z.boolean().default(false),
  }),
  output: z.strictObject({ path: z.string(), replaced: z.int(), size: z.int() }),
  async run({ id, path, old_text: oldText, new_text: newText, all }, context) {
    const { engine, caller } = context
    const instance = await findInstance(engine, caller, id)
    context.note({ instance: instance.id })
    const info = await engine.instances.stat(caller, instance.id, path, { followLinks: true, wake: true })
    if (!info.exists) throw new BerthError('guest_path', info.error ?? `There is no ${quoteGo(path)} in the instance: write-file makes one.`)
    if (info.kind !== 'file') throw new BerthError('guest_path', `${quoteGo(path)} is no file.`)
    const text = await textOf(context, instance.id, path)
    const parts = text.split(oldText)
    const found = parts.length - 1
    if (found === 0) throw new BerthError('invalid_request', `old_text does not stand in ${quoteGo(path)}: read-file tells what does.`)
    if (found > 1 && !all) throw new BerthError('invalid_request', `old_text stands in ${quoteGo(path)} ${found} times: give more of what is around it, or say all.`)
    const sizeBytes = Buffer.byteLength(text) + found * (Buffer.byteLength(newText) - Buffer.byteLength(oldText))
    if (sizeBytes > EDIT_LIMIT_BYTES) throw new BerthError('limit_exceeded', `With that ${quoteGo(path)} would be larger than 4 MiB: change it with a command, like sed -i.`)
    const data = Buffer.from(parts.join(newText))
    requirePatience(context.signal)
    await engine.instances.copyIn(caller, instance.id, path, oneFile(data, info.mode, context.now(), { uid: info.uid, gid: info.gid }))
    return { data: { path, replaced: found, size: data.length }, text: `Replaced ${found === 1 ? 'it once' : `it ${found} times`} in ${path}; ${data.length} bytes now.` }
  },
})

async function textOf({ engine, caller, signal }: ToolContext, id: InstanceId, path: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const item of await engine.instances.copyOut(caller, id, path, { followLinks: true })) {
    requirePatience(signal)
    if (item.type === 'error') throw new BerthError('guest_path', item.message)
    if (item.type !== 'data') continue
    size += item.data.length
    if (size > EDIT_LIMIT_BYTES) throw new BerthError('guest_path', `${quoteGo(path)} is larger than 4 MiB: change it with a command, like sed -i.`)
    chunks.push(item.data)
  }
  const bytes = Buffer.concat(chunks)
  if (!isUtf8(bytes)) throw new BerthError('guest_path', `${quoteGo(path)} is no text.`)
  return bytes.toString()
}
