/**
 * User data as it is given, taken apart: one document, or a MIME message of several. What a part is, its first line
 * says, as it does for cloud-init:
 *
 *   #!/bin/sh …        a script          #cloud-config …      YAML
 *   MIME-Version: …    parts of these    (anything else)      refused
 */
import { gunzipSync } from 'node:zlib'
import { BerthError } from '../../instance/errors.ts'

export const USER_DATA_LIMIT_BYTES = 1024 * 1024
export const USER_DATA_PARTS_LIMIT = 64
/** What a compressed part may grow to. */
const UNPACKED_LIMIT_BYTES = 4 * USER_DATA_LIMIT_BYTES
const DEPTH_LIMIT = 4

export interface UserDataPart {
  readonly kind: 'script' | 'cloud-config' | 'other'
  readonly text: string
  /** With `other`: what it calls itself. */
  readonly name: string
}

const NAMED_TYPES: Readonly<Record<string, UserDataPart['kind']>> = { 'text/x-shellscript': 'script', 'text/cloud-config': 'cloud-config' }
/** Kinds that cloud-init has besides; only an image with a cloud-init of its own can do them. */
const OTHER_KINDS = ['#include', '#include-once', '#cloud-boothook', '#cloud-config-archive', '#part-handler', '#upstart-job', '## template:']

/** Throws `invalid_request` if it is too long or nothing that could be done. */
export function partsOf(userData: string): readonly UserDataPart[] {
  const bytes = Buffer.byteLength(userData)
  if (bytes > USER_DATA_LIMIT_BYTES) throw wrong(`has ${bytes} bytes; at most ${USER_DATA_LIMIT_BYTES} are allowed`)
  const parts = documentParts(userData, 0)
  if (parts.length > USER_DATA_PARTS_LIMIT) throw wrong(`has ${parts.length} parts; at most ${USER_DATA_PARTS_LIMIT} are allowed`)
  return parts
}

export function wrong(what: string): BerthError {
  return new BerthError('invalid_request', `The user data ${what}.`, { details: { field: 'user_data' } })
}

function documentParts(text: string, depth: number): readonly UserDataPart[] {
  const start = text.replace(/^\uFEFF/, '')
  const [line = ''] = start.split(/\r?\n/, 1)
  if (/^#![ \t]*\//.test(line)) return [{ kind: 'script', text: start, name: '#!' }]
  if (/^#cloud-config\s*$/.test(line)) return [{ kind: 'cloud-config', text: start, name: '#cloud-config' }]
  if (/^(mime-version|content-type):/i.test(line)) return mimeParts(start, depth)
  const other = OTHER_KINDS.findLast(kind => line.startsWith(kind))
  if (other !== undefined) return [{ kind: 'other', text: start, name: other }]
  throw wrong('is none of the kinds that there are: begin a script with #! and the path of its interpreter, YAML with #cloud-config, and several of them with a MIME header')
}

interface Headers {
  readonly type: string
  readonly boundary: string | null
  readonly encoding: string
}

function mimeParts(text: string, depth: number): readonly UserDataPart[] {
  if (depth >= DEPTH_LIMIT) throw wrong(`nests MIME messages deeper than ${DEPTH_LIMIT}`)
  const { headers, body } = splitMessage(text)
  if (headers.boundary === null) return leafParts(headers, body, depth)
  const mark = `--${headers.boundary}`
  const lines = body.split(/\r?\n/)
  const marks = lines.flatMap((line, index) => (line.trimEnd() === mark || line.trimEnd() === `${mark}--` ? [index] : []))
  if (marks.length < 2) throw wrong('is a MIME message whose boundary does not enclose any part')
  return marks.slice(0, -1).flatMap((at, index) => {
    const part = splitMessage(lines.slice(at + 1, marks[index + 1]).join('\n'))
    if (part.headers.boundary !== null) return mimeParts(lines.slice(at + 1, marks[index + 1]).join('\n'), depth + 1)
    return leafParts(part.headers, part.body, depth)
  })
}

function leafParts({ type, encoding }: Headers, body: string, depth: number): readonly UserDataPart[] {
  const text = decoded(body, encoding)
  const kind = NAMED_TYPES[type]
  if (kind !== undefined) return [{ kind, text, name: type }]
  // `text/plain` and what cloud-init doesn't know is what its first line says.
  if (text.trim() === '') return []
  return documentParts(text, depth + 1)
}

function splitMessage(text: string): { readonly headers: Headers; readonly body: string } {
  const [, head = '', body = ''] = /^([\s\S]*?)(?:\r?\n\r?\n|^\r?\n)([\s\S]*)$/.exec(text) ?? [null, text, '']
  // A part may begin with its body, after an empty line.
  const unfolded = head.replaceAll(/\r?\n[ \t]+/g, ' ')
  const header = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'im').exec(unfolded)?.[1]?.trim() ?? ''
  const contentType = header('content-type')
  const boundary = /;\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;]+))/i.exec(contentType)
  return {
    headers: {
      type: (contentType.split(';')[0] ?? '').trim().toLowerCase(),
      boundary: boundary?.[1] ?? boundary?.[2] ?? null,
      encoding: header('content-transfer-encoding').toLowerCase(),
    },
    body,
  }
}

function decoded(body: string, encoding: string): string {
  if (encoding === 'base64') {
    const bytes = Buffer.from(body, 'base64')
    return (bytes[0] === 0x1f && bytes[1] === 0x8b ? unzipped(bytes) : bytes).toString()
  }
  if (encoding === 'quoted-printable') {
    const plain = body.replaceAll(/=\r?\n/g, '').replaceAll(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    return Buffer.from(plain, 'latin1').toString()
  }
  return body
}

/** Throws `invalid_request` if it is damaged, or grows too large. */
export function unzipped(bytes: Uint8Array): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: UNPACKED_LIMIT_BYTES })
  } catch (error) {
    throw new BerthError('invalid_request', `The user data holds gzip that can't be unpacked to at most ${UNPACKED_LIMIT_BYTES} bytes.`, { cause: error, details: { field: 'user_data' } })
  }
}
