/**
 * SSH public keys as OpenSSH writes them, and pairs made here.
 *
 *   ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… comment
 *   type        base64 of: length (4 bytes), type again, then the numbers of the key, each with its length
 *
 * A key becomes a line of `authorized_keys` in a guest, so nothing passes that could be more than one line, or
 * options before the type.
 */
import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { BerthError } from './errors.ts'

export const PUBLIC_KEY_LIMIT_CHARACTERS = 4096
const RSA_BITS = 3072

/** Types, and how many length-prefixed parts follow the type. */
const PARTS: Readonly<Record<string, number>> = {
  'ssh-ed25519': 1,
  'ssh-rsa': 2,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'sk-ssh-ed25519@openssh.com': 2,
  'sk-ecdsa-sha2-nistp256@openssh.com': 3,
}
const LINE = /^(\S+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+([^\r\n]*))?$/
/** Control characters have no place in a comment. */
const CONTROL = /\p{Cc}/u

export interface KeyPair {
  readonly publicKey: string
  /** PKCS#1 PEM, which every OpenSSH reads. */
  readonly privateKey: string
}

/** The key as one clean line; throws `invalid_request` if it is not an OpenSSH public key. */
export function checkedPublicKey(text: string): string {
  const line = text.trim()
  const wrong = (why: string) =>
    new BerthError('invalid_request', `The public key ${why}: give one line as ssh-keygen writes it into a .pub file.`, { details: { field: 'public_key' } })
  if (line.length > PUBLIC_KEY_LIMIT_CHARACTERS) throw wrong(`is longer than ${PUBLIC_KEY_LIMIT_CHARACTERS} characters`)
  if (/PRIVATE KEY/.test(line)) throw wrong('is a private key, which nobody but its owner should see')
  const match = LINE.exec(line)
  const type = match?.[1] ?? ''
  const parts = Object.hasOwn(PARTS, type) ? PARTS[type] : undefined
  if (match === null || CONTROL.test(line.replaceAll('\t', ' '))) throw wrong('is not of the form "type base64 comment"')
  if (parts === undefined) throw wrong(`has a type that is none of ${Object.keys(PARTS).join(', ')}`)
  if (!isBlob(Buffer.from(match[2] ?? '', 'base64'), type, parts)) throw wrong('is damaged')
  return line
}

/** Whether a word is meant as a key, and not as the name of one: names have no such beginning. */
export function isPublicKey(text: string): boolean {
  return Object.keys(PARTS).some(type => text.trimStart().startsWith(`${type} `))
}

/** A new RSA pair. */
export async function makeKeyPair(comment: string): Promise<KeyPair> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: RSA_BITS })
  const jwk = publicKey.export({ format: 'jwk' })
  const number = (base64url: string | undefined) => {
    const bytes = Buffer.from(base64url ?? '', 'base64url')
    // Numbers are signed: a first bit that is set needs a zero before it.
    return prefixed((bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes)
  }
  const blob = Buffer.concat([prefixed(Buffer.from('ssh-rsa')), number(jwk.e), number(jwk.n)])
  const clean = comment.replaceAll(/\s+/g, '-').replaceAll(/[^\x21-\x7e]/g, '_')
  return {
    publicKey: `ssh-rsa ${blob.toString('base64')} ${clean}`.trim(),
    privateKey: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
  }
}

function prefixed(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/** Whether the bytes are the type and exactly so many parts. */
function isBlob(blob: Buffer, type: string, parts: number): boolean {
  let offset = 0
  for (let index = 0; index <= parts; index++) {
    if (offset + 4 > blob.length) return false
    const end = offset + 4 + blob.readUInt32BE(offset)
    if (end > blob.length) return false
    if (index === 0 && blob.toString('latin1', 4, end) !== type) return false
    if (index > 0 && end === offset + 4) return false
    offset = end
  }
  return offset === blob.length
}
