/**
 * Sessions of browsers: a key is exchanged once for a token, which the browser keeps in a cookie that no script reads.
 *
 * What is kept, in memory and in one file (0600) so that a restart of the server signs nobody out:
 *
 *   SHA-256(token)  →  the key, sealed with AES-256-GCM under HKDF(token); when it expires
 *
 * So neither the file nor the memory holds a key or a token; only a browser that sends its token opens what is its
 * own. A session is worth what its key is worth: each request asks again, so a deleted or expired key ends it.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { Authenticate, BrowserSessions } from '../dialects/dialect.ts'
import { BerthError } from '../instance/errors.ts'

export const SESSION_MS = 7 * 24 * 60 * 60 * 1000
/** Sessions at once; the oldest makes room. */
export const SESSIONS_LIMIT = 1000
/** Refused keys of one address within the window. */
export const FAILURES_LIMIT = 10
export const FAILURES_WINDOW_MS = 60_000
/** Addresses whose failures are remembered. */
const ADDRESSES_LIMIT = 10_000
const TOKEN_BYTES = 32
const TOKEN_CHARACTERS = 43
const NONCE_BYTES = 12
const TAG_BYTES = 16
const SURFACE = 'native'

interface Kept {
  readonly sealed: string
  readonly expiresAt: number
}

export interface SessionsOptions {
  readonly authenticate: Authenticate
  readonly file: string
  readonly now: () => number
}

export function openSessions({ authenticate, file, now }: SessionsOptions): BrowserSessions {
  const kept = readKept(file, now())
  const failures = new Map<string, { count: number; since: number }>()

  const save = () => {
    writeFileSync(`${file}.new`, JSON.stringify(Object.fromEntries(kept)), { mode: 0o600 })
    renameSync(`${file}.new`, file)
  }

  const checkRate = (address: string) => {
    const seen = failures.get(address)
    if (seen === undefined || now() - seen.since >= FAILURES_WINDOW_MS) return
    if (seen.count >= FAILURES_LIMIT) {
      throw new BerthError('rate_limited', `${FAILURES_LIMIT} keys were refused within a minute: wait a minute, then try again.`)
    }
  }
  const noteFailure = (address: string) => {
    const seen = failures.get(address)
    const isOpen = seen !== undefined && now() - seen.since < FAILURES_WINDOW_MS
    failures.delete(address)
    failures.set(address, isOpen ? { count: seen.count + 1, since: seen.since } : { count: 1, since: now() })
    dropOldest(failures, ADDRESSES_LIMIT)
  }

  return {
    async open(secret, address) {
      checkRate(address)
      if ((await authenticate(secret, SURFACE)) === null) {
        noteFailure(address)
        throw new BerthError('unauthenticated', 'The key is not known here, or has expired; make one with berth keys create.')
      }
      const token = randomBytes(TOKEN_BYTES).toString('base64url')
      const expiresAt = now() + SESSION_MS
      kept.set(idOf(token), { sealed: seal(secret, token), expiresAt })
      dropOldest(kept, SESSIONS_LIMIT)
      save()
      return { token, expiresAt }
    },
    secretOf(token) {
      if (token.length !== TOKEN_CHARACTERS) return null
      const session = kept.get(idOf(token))
      return session === undefined || session.expiresAt <= now() ? null : unseal(session.sealed, token)
    },
    close(token) {
      if (kept.delete(idOf(token))) save()
    },
  }
}

function readKept(file: string, now: number): Map<string, Kept> {
  try {
    const all = Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, Kept>>)
    return new Map(all.filter(([, { expiresAt, sealed }]) => expiresAt > now && typeof sealed === 'string'))
  } catch {
    // There is none yet, or it is damaged: everybody signs in again.
    return new Map()
  }
}

function dropOldest(map: Map<string, unknown>, limit: number): void {
  for (const [oldest] of map) {
    if (map.size <= limit) return
    map.delete(oldest)
  }
}

function idOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

function sealingKey(token: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', token, '', 'berth browser session', 32))
}

/** nonce | ciphertext | tag */
function seal(secret: string, token: string): string {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', sealingKey(token), nonce)
  return Buffer.concat([nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64')
}

/** null if the file was tampered with. */
function unseal(sealed: string, token: string): string | null {
  const bytes = Buffer.from(sealed, 'base64')
  if (bytes.length < NONCE_BYTES + TAG_BYTES) return null
  const decipher = createDecipheriv('aes-256-gcm', sealingKey(token), bytes.subarray(0, NONCE_BYTES))
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString('utf8')
  } catch {
    return null
  }
}
