/**
 * Texts of an instance in which names stand for what is known when it starts:
 *
 *   {{ NAME }}          a variable of the instance        {{ instance.id }}    its id
 *   {{ secret.NAME }}   a secret of its project           {{ instance.host }}  the machine that it starts on
 *
 * A name that nothing has stays as it is written: it may be a template of the application's own. Variables may name
 * each other; one that names itself, by whatever way, stays as it is written too.
 */
import { BerthError } from '../instance/errors.ts'
import type { Instance } from '../instance/model.ts'
import { ENV_ENTRY_LIMIT_BYTES, ENV_TOTAL_LIMIT_BYTES } from '../instance/names.ts'
import { referencesIn } from './secrets.ts'
import type { StoreReader } from './store-port.ts'

/** Of a file, with what its names stand for. */
export const DERIVED_FILE_LIMIT_BYTES = 1_048_576
const NAME = /\{\{\s*([A-Za-z_][A-Za-z0-9_.-]{0,255})\s*\}\}/g

type Variables = Readonly<Record<string, string>>

/** The names in a text, of variables and of whatever else. */
export function namesIn(text: string): readonly string[] {
  return [...text.matchAll(NAME)].map(([, name = '']) => name)
}

export interface Derivation {
  /** `known`, and the variables that were derived, which count before those. */
  readonly variables: Variables
  readonly text: (source: string, limitBytes: number) => string
}

/** Throws `not_found` if a secret is gone, `limit_exceeded` if a text becomes too long. */
export async function derive(reader: Pick<StoreReader, 'secretValues'>, instance: Instance, known: Variables, texts: readonly string[]): Promise<Derivation> {
  const derived = new Map(Object.entries(instance.spec.derivedEnv ?? {}))
  const wanted = [...new Set([...derived.values(), ...texts].flatMap(referencesIn))]
  const secrets = wanted.length === 0 ? {} : await reader.secretValues(instance.projectId, wanted)
  const missing = wanted.find(name => !Object.hasOwn(secrets, name))
  if (missing !== undefined) throw new BerthError('not_found', `The secret ${missing} of the instance is gone: make it again, or change its variables and files.`)
  const done = new Map<string, string>()
  const underway = new Set<string>()

  function valueOf(name: string): string | null {
    if (name.startsWith('secret.')) return secrets[name.slice('secret.'.length)] ?? null
    if (name === 'instance.id') return instance.id
    if (name === 'instance.host') return instance.hostId ?? ''
    const text = derived.get(name)
    if (text === undefined) return Object.hasOwn(known, name) ? (known[name] ?? null) : null
    const ready = done.get(name)
    if (ready !== undefined) return ready
    if (underway.has(name)) return null
    underway.add(name)
    const value = filled(text, ENV_ENTRY_LIMIT_BYTES)
    underway.delete(name)
    done.set(name, value)
    return value
  }

  function filled(source: string, limitBytes: number): string {
    let left = limitBytes - Buffer.byteLength(source)
    return source.replace(NAME, (written, name: string) => {
      const value = valueOf(name)
      left -= value === null ? 0 : Buffer.byteLength(value)
      if (left < 0) throw new BerthError('limit_exceeded', `With what its names stand for a text of the instance is longer than ${limitBytes} bytes: shorten it.`)
      return value ?? written
    })
  }

  const variables: Record<string, string> = { ...known }
  let totalBytes = 0
  for (const name of derived.keys()) {
    variables[name] = valueOf(name) ?? ''
    totalBytes += Buffer.byteLength(name) + Buffer.byteLength(variables[name])
    if (totalBytes > ENV_TOTAL_LIMIT_BYTES) throw new BerthError('limit_exceeded', `The variables of the instance have more than ${ENV_TOTAL_LIMIT_BYTES} bytes: shorten them.`)
  }
  return { variables, text: filled }
}
