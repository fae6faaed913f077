/** Signing in and out, and who we are. */
import { call } from './http.ts'
import type { Whoami } from './types.ts'

/** Exchanges the key for the session's cookie; the key is not kept anywhere here. */
export async function signIn(key: string): Promise<void> {
  await call('POST', '/session', { json: { key } })
}

export async function signOut(): Promise<void> {
  await call('DELETE', '/session')
}

export async function whoami(signal?: AbortSignal): Promise<Whoami> {
  return call<Whoami>('GET', '/whoami', signal === undefined ? {} : { signal })
}
