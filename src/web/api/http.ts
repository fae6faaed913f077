/**
 * Requests to the native API. The session's cookie goes with them by itself; the header says that it is us who ask.
 *
 * Whoever listens learns at once that the session is over, whatever was asked.
 */
import type { Page } from './types.ts'

export const API = '/berth/v1'
const SESSION_HEADER = { 'x-berth-session': '1' }
/** Largest page that the server gives. */
const PAGE_LIMIT = 1000

/** What the server refused, in its own sentence; `offline` if it did not answer at all. */
export class ApiError extends Error {
  readonly code: string
  readonly status: number
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: string, message: string, status: number, details: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.code = code
    this.status = status
    this.details = details
  }
}

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | null | undefined>>

export interface RequestOptions {
  readonly query?: Query
  readonly json?: unknown
  readonly body?: BodyInit
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

type Listener = (error: ApiError) => void
const signedOutListeners = new Set<Listener>()

/** Told each time that the server no longer knows our session. */
export function onSignedOut(listener: Listener): () => void {
  signedOutListeners.add(listener)
  return () => signedOutListeners.delete(listener)
}

export function apiPath(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined) continue
    for (const each of Array.isArray(value) ? (value as readonly string[]) : [String(value)]) parameters.append(name, each)
  }
  const text = parameters.toString()
  return `${API}${path}${text === '' ? '' : `?${text}`}`
}

/** The answer, whatever its type; throws what was refused. */
export async function send(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
  const { query, json, body, headers, signal } = options
  const response = await fetch(apiPath(path, query), {
    method,
    credentials: 'same-origin',
    headers: { ...SESSION_HEADER, ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    ...(body === undefined ? {} : { body }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((error: unknown) => {
    if (signal?.aborted === true) throw error
    throw new ApiError('offline', 'The server does not answer.', 0)
  })
  if (response.ok) return response
  const refusal = await readRefusal(response)
  // These two are how it is found out; everything else is how it is noticed.
  if (refusal.status === 401 && path !== '/session' && path !== '/whoami') for (const listener of signedOutListeners) listener(refusal)
  throw refusal
}

async function readRefusal(response: Response): Promise<ApiError> {
  const fallback = new ApiError('internal', `The server answered with status ${response.status}.`, response.status)
  try {
    const { error } = (await response.json()) as { error?: { code: string; message: string; details?: Record<string, unknown> } }
    return error === undefined ? fallback : new ApiError(error.code, error.message, response.status, error.details ?? {})
  } catch {
    // No JSON: something between us and the server answered.
    return fallback
  }
}

export async function call<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const response = await send(method, path, options)
  return (response.status === 204 ? undefined : await response.json()) as T
}

/** The pages of a list, one after the other. */
export async function* listPages<T>(path: string, options: Pick<RequestOptions, 'query' | 'signal'> = {}): AsyncGenerator<readonly T[]> {
  let cursor: string | null = null
  do {
    const page: Page<T> = await call<Page<T>>('GET', path, { ...options, query: { ...options.query, limit: PAGE_LIMIT, cursor } })
    yield page.items
    cursor = page.next
  } while (cursor !== null)
}

/** All items of a list. */
export async function listAll<T>(path: string, options: Pick<RequestOptions, 'query' | 'signal'> = {}): Promise<T[]> {
  const all: T[] = []
  for await (const items of listPages<T>(path, options)) all.push(...items)
  return all
}

/** One part of a path. */
export function part(text: string): string {
  return encodeURIComponent(text)
}
