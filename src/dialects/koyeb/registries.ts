/**
 * Secrets of the type REGISTRY: a login of one registry of images. Each of Koyeb's keys says which registry is meant; the
 * password is written and never told again, the rest is shown.
 */
import { parseImageName } from '../../instance/image-name.ts'
import type { RegistryLogin, Secret } from '../../instance/model.ts'
import type { Json } from './body.ts'
import { asObject, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { quoted } from './query.ts'

export const REGISTRY_KEYS = ['docker_hub_registry', 'private_registry', 'digital_ocean_registry', 'github_registry', 'gitlab_registry', 'gcp_container_registry', 'azure_container_registry'] as const
type RegistryKey = (typeof REGISTRY_KEYS)[number]

/** Of those that are in one place only. */
const HOSTS: Readonly<Partial<Record<RegistryKey, string>>> = {
  docker_hub_registry: 'docker.io',
  digital_ocean_registry: 'registry.digitalocean.com',
  github_registry: 'ghcr.io',
  gitlab_registry: 'registry.gitlab.com',
}
/** The user of a key file, as Google has it. */
const KEY_FILE_USER = '_json_key'
const AZURE_NAME = /^[a-zA-Z0-9]{1,50}$/

export interface AcceptedLogin {
  readonly login: RegistryLogin
  readonly password: string
}

/** The login of a body; null where it has none. */
export function acceptLogin(body: Json): AcceptedLogin | null {
  const given = REGISTRY_KEYS.filter(key => body[key] !== undefined && body[key] !== null)
  const [kind, other] = given
  if (kind === undefined) return null
  if (other !== undefined) throw fieldError(other, `give either ${kind} or ${other}`)
  const registry = asObject(kind, body[kind])
  const text = (name: string) => {
    const value = requiredText(`${kind}.${name}`, registry[name])
    if (value === '') throw fieldError(`${kind}.${name}`, 'it is required')
    return value
  }
  if (kind === 'gcp_container_registry') return { login: { kind, host: hostOf(`${kind}.url`, text('url')), username: KEY_FILE_USER }, password: text('keyfile_content') }
  return { login: { kind, host: HOSTS[kind] ?? ownHost(kind, text), username: text('username') }, password: text('password') }
}

function ownHost(kind: RegistryKey, text: (name: string) => string): string {
  if (kind !== 'azure_container_registry') return hostOf(`${kind}.url`, text('url'))
  const name = text('registry_name')
  if (!AZURE_NAME.test(name)) throw fieldError(`${kind}.registry_name`, `${quoted(name)} is not the name of a registry`)
  return `${name.toLowerCase()}.azurecr.io`
}

/** The host of an address, as names of images have it: with or without a scheme and a path. */
function hostOf(field: string, url: string): string {
  const host = url.replace(/^https?:\/\//, '').replace(/\/.*$/s, '')
  try {
    const { domain } = parseImageName(`${host}/image`)
    if (domain === host || host === 'index.docker.io') return domain
  } catch {
    // Told below, in this field's words.
  }
  throw fieldError(field, `${quoted(url)} is not the address of a registry, like registry.example.com`)
}

/** What is shown of a login: all but the password. */
export function presentLogin({ registry }: Pick<Secret, 'registry'>): Json {
  if (registry === undefined || registry === null) return {}
  const { kind, host, username } = registry
  const account = { username, password: '' }
  if (kind === 'private_registry') return { [kind]: { url: host, ...account } }
  if (kind === 'gcp_container_registry') return { [kind]: { url: host, keyfile_content: '' } }
  if (kind === 'azure_container_registry') return { [kind]: { registry_name: host.replace(/\.azurecr\.io$/, ''), ...account } }
  return { [kind]: account }
}
