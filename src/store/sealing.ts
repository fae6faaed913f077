/**
 * Values that are worth something to a thief of the database are sealed: AES-256-GCM, with a key that is not in it.
 *
 *   sealed = base64( nonce 12 bytes │ tag 16 bytes │ ciphertext )      bound to what it belongs to: moved, it opens no more
 *
 * The key is `secrets.key` beside the database, made at the first start for its owner alone, or one that the operator
 * brings. Each value names its key: after a key is lost what it sealed is told as lost, and all else goes on. What
 * another key that is at hand sealed, or nothing, is sealed anew when the store opens.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { BerthError } from '../instance/errors.ts'

export const SEALING_KEY_FILE = 'secrets.key'
const CIPHER = 'aes-256-gcm'
export const SEALING_KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_ID_CHARACTERS = 16

interface SealingKey {
  readonly id: string
  readonly bytes: Buffer
}

/** A value that is kept. `keyId` null: it was written before there were keys, as it is. */
export interface Sealed {
  readonly value: string
  readonly keyId: string | null
}

export class Sealing {
  readonly #current: SealingKey
  readonly #known: ReadonlyMap<string, SealingKey>

  constructor(current: Buffer, others: readonly Buffer[] = []) {
    this.#current = keyOf(current)
    this.#known = new Map([...others.map(keyOf), this.#current].map(key => [key.id, key]))
  }

  get keyId(): string {
    return this.#current.id
  }

  seal(value: string, belongsTo: string): Sealed {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, this.#current.bytes, nonce).setAAD(Buffer.from(belongsTo))
    const sealed = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()])
    return { value: Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64'), keyId: this.#current.id }
  }

  /** The value; null if no key that is here opens it. */
  open({ value, keyId }: Sealed, belongsTo: string): string | null {
    if (keyId === null) return value
    const key = this.#known.get(keyId)
    const bytes = Buffer.from(value, 'base64')
    if (key === undefined || bytes.length < NONCE_BYTES + TAG_BYTES) return null
    try {
      const decipher = createDecipheriv(CIPHER, key.bytes, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
        .setAAD(Buffer.from(belongsTo))
        .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES))
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8')
    } catch {
      // It was changed, or belongs to something else.
      return null
    }
  }
}

/** The key that the operator brings, else the one of the file, which is made where there is none. */
export function openSealing(file: string, given: Buffer | null): Sealing {
  const kept = readKey(file)
  if (given !== null) return new Sealing(given, kept === null ? [] : [kept])
  return new Sealing(kept ?? makeKey(file))
}

/** 32 bytes, in base64 or hex; null if it is neither. */
export function parseSealingKey(text: string): Buffer | null {
  const word = text.trim()
  if (/^[0-9a-f]{64}$/i.test(word)) return Buffer.from(word, 'hex')
  const bytes = /^[A-Za-z0-9+/_-]{43}=?$/.test(word) ? Buffer.from(word, 'base64url') : null
  return bytes?.length === SEALING_KEY_BYTES ? bytes : null
}

function readKey(file: string): Buffer | null {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw new BerthError('internal', `The key of secrets ${file} can't be read (${error instanceof Error ? error.message : String(error)}): give it back to the user that Berth runs as.`, { cause: error })
  }
  const key = parseSealingKey(text)
  if (key === null) throw new BerthError('internal', `${file} holds no key of secrets: put the right file back, or move it away; what it sealed must then be set again.`)
  return key
}

/** Whole or not at all, and never over one that is there: of two that start at once, one makes it. */
function makeKey(file: string): Buffer {
  const key = randomBytes(SEALING_KEY_BYTES)
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  const descriptor = openSync(draft, 'wx', 0o600)
  try {
    writeSync(descriptor, `${key.toString('base64')}\n`)
    fsyncSync(descriptor)
    linkSync(draft, file)
    return key
  } catch (error) {
    const made = error instanceof Error && 'code' in error && error.code === 'EEXIST' ? readKey(file) : null
    if (made === null) throw error
    return made
  } finally {
    closeSync(descriptor)
    rmSync(draft, { force: true })
  }
}

function keyOf(bytes: Buffer): SealingKey {
  return { id: createHash('sha256').update('berth secrets ').update(bytes).digest('hex').slice(0, KEY_ID_CHARACTERS), bytes }
}
