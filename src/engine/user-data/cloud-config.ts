/**
 * The part of cloud-config that is done for images without a cloud-init of their own, read from YAML into plain data.
 * Keys that aren't done are named, never passed over in silence. YAML is read as version 1.1, as cloud-init reads it:
 * `yes` is true, and 0644 an octal number.
 */
import { parseDocument } from 'yaml'
import { unzipped, wrong } from './parts.ts'

export interface CloudConfig {
  readonly hostname: string | null
  readonly files: readonly FileWish[]
  readonly bootCommands: readonly Command[]
  readonly runCommands: readonly Command[]
  readonly groups: readonly { readonly name: string; readonly members: readonly string[] }[]
  readonly users: readonly UserWish[]
  /** For `ubuntu`, or root where there is none. */
  readonly sshKeys: readonly string[]
  readonly finalMessage: string | null
  /** Keys that stand there and are not done. */
  readonly notDone: readonly string[]
}

export interface FileWish {
  readonly path: string
  readonly data: Buffer
  readonly mode: number
  /** `user`, `user:group`; null is root. */
  readonly owner: string | null
  readonly append: boolean
  /** After users were made. */
  readonly defer: boolean
}

export interface UserWish {
  readonly name: string
  readonly uid: string | null
  readonly gecos: string | null
  readonly home: string | null
  readonly shell: string | null
  readonly primaryGroup: string | null
  readonly groups: readonly string[]
  readonly system: boolean
  readonly makeHome: boolean
  /** crypt(3), as in /etc/shadow. */
  readonly passwordHash: string | null
  readonly sudo: readonly string[]
  readonly sshKeys: readonly string[]
}

/** Shell text, or argv. */
export type Command = string | readonly string[]

const DONE = new Set([
  'hostname', 'fqdn', 'preserve_hostname', 'prefer_fqdn_over_hostname', 'write_files', 'bootcmd', 'runcmd', 'groups', 'users', 'ssh_authorized_keys', 'final_message',
])
/** They say what is so anyway, or shape cloud-init itself. */
const NEEDLESS = new Set(['merge_how', 'merge_type', 'output', 'disable_root', 'ssh_pwauth', 'allow_public_ssh_keys', 'manage_etc_hosts', 'cloud_init_modules', 'cloud_config_modules', 'cloud_final_modules'])
const FILES_LIMIT = 1000
const USERS_LIMIT = 100
const COMMANDS_LIMIT = 1000
const NAME = /^[a-z_][a-z0-9_-]{0,31}\$?$/i
const OWNER = /^[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?$/i
const HOSTNAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i

type Fields = Readonly<Record<string, unknown>>

/** Throws `invalid_request` if it is no YAML, or has something in it that can't be what is meant. */
export function readCloudConfig(text: string): CloudConfig {
  const config = parsed(text)
  const hostname = textOf('hostname', config['hostname']) ?? textOf('fqdn', config['fqdn'])?.split('.')[0] ?? null
  if (hostname !== null && !HOSTNAME.test(hostname)) throw wrong('has a hostname that is none')
  return {
    hostname: config['preserve_hostname'] === true ? null : hostname,
    files: listOf('write_files', config['write_files'], FILES_LIMIT).map(fileWish),
    bootCommands: listOf('bootcmd', config['bootcmd'], COMMANDS_LIMIT).map((item, index) => command(`bootcmd[${index}]`, item)),
    runCommands: listOf('runcmd', config['runcmd'], COMMANDS_LIMIT).map((item, index) => command(`runcmd[${index}]`, item)),
    groups: listOf('groups', config['groups'], USERS_LIMIT).flatMap(groupWishes),
    users: userItems(config['users']).flatMap(userWish),
    sshKeys: keysOf('ssh_authorized_keys', config['ssh_authorized_keys']),
    finalMessage: textOf('final_message', config['final_message']),
    notDone: Object.keys(config).filter(key => !DONE.has(key) && !NEEDLESS.has(key)),
  }
}

function parsed(text: string): Fields {
  const document = parseDocument(text, { logLevel: 'silent', version: '1.1' })
  const [error] = document.errors
  if (error !== undefined) throw wrong(`is no YAML: ${error.message.split('\n')[0]?.replace(/[:.]*$/, '') ?? ''}`)
  let value: unknown
  try {
    value = document.toJS()
  } catch (cause) {
    // Aliases that multiply.
    throw wrong(`is YAML that can't be read: ${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}`)
  }
  if (value === null || value === undefined) return {}
  return fieldsOf('#cloud-config', value)
}

function fileWish(item: unknown, index: number): FileWish {
  const field = `write_files[${index}]`
  const file = fieldsOf(field, item)
  const path = textOf(`${field}.path`, file['path']) ?? ''
  if (!path.startsWith('/') || path.includes('\0') || path.split('/').includes('..') || path.endsWith('/')) throw wrong(`has a ${field}.path that is not an absolute path of a file`)
  const owner = textOf(`${field}.owner`, file['owner'])
  if (owner !== null && !OWNER.test(owner)) throw wrong(`has a ${field}.owner that is not of the form user:group`)
  return {
    path,
    data: contentOf(field, file),
    mode: modeOf(`${field}.permissions`, file['permissions']),
    owner: owner === null || /^(root|0)(:(root|0))?$/.test(owner) ? null : owner,
    append: file['append'] === true,
    defer: file['defer'] === true,
  }
}

function contentOf(field: string, file: Fields): Buffer {
  const { content } = file
  const text = Buffer.isBuffer(content) || content instanceof Uint8Array ? Buffer.from(content).toString('latin1') : (textOf(`${field}.content`, content) ?? '')
  const encoding = (textOf(`${field}.encoding`, file['encoding']) ?? 'text/plain').toLowerCase()
  switch (encoding) {
    case 'text/plain':
    case '':
      return Buffer.from(text)
    case 'b64':
    case 'base64':
      return Buffer.from(text, 'base64')
    case 'gz':
    case 'gzip':
      return unzipped(Buffer.from(text, 'latin1'))
    case 'gz+b64':
    case 'gz+base64':
    case 'gzip+b64':
    case 'gzip+base64':
      return unzipped(Buffer.from(text, 'base64'))
    default:
      throw wrong(`has a ${field}.encoding that is none of text/plain, b64, gzip and gz+b64`)
  }
}

/** `'0644'`, or the number that YAML made of 0644. */
function modeOf(field: string, value: unknown): number {
  if (value === undefined || value === null) return 0o644
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0o7777) return value
  const digits = textOf(field, value) ?? ''
  if (typeof value === 'number' || !/^0?o?[0-7]{3,4}$/.test(digits)) throw wrong(`has ${field} that are not octal digits in quotes, like '0644'`)
  return Number.parseInt(digits.replace('o', ''), 8)
}

function command(field: string, item: unknown): Command {
  if (Array.isArray(item)) return item.map(word => wordOf(field, word))
  return wordOf(field, item)
}

function groupWishes(item: unknown, index: number): CloudConfig['groups'] {
  const field = `groups[${index}]`
  if (typeof item === 'string') return item.split(',').map(name => ({ name: nameOf(field, name.trim()), members: [] }))
  return Object.entries(fieldsOf(field, item)).map(([name, members]) => ({ name: nameOf(field, name), members: namesOf(field, members) }))
}

function userItems(value: unknown): readonly unknown[] {
  if (typeof value === 'string') return value.split(',').map(name => name.trim())
  return listOf('users', value, USERS_LIMIT)
}

function userWish(item: unknown, index: number): readonly UserWish[] {
  const field = `users[${index}]`
  // The image's own user, who is there as far as there is one.
  if (item === 'default' || item === '') return []
  const user = typeof item === 'string' ? { name: item } : fieldsOf(field, item)
  const text = (key: string) => textOf(`${field}.${key}`, (user as Fields)[key])
  const given = user as Fields
  return [
    {
      name: nameOf(`${field}.name`, text('name') ?? ''),
      uid: text('uid'),
      gecos: text('gecos'),
      home: text('homedir'),
      shell: text('shell'),
      primaryGroup: text('primary_group') === null ? null : nameOf(`${field}.primary_group`, text('primary_group') ?? ''),
      groups: namesOf(`${field}.groups`, given['groups']),
      system: given['system'] === true,
      makeHome: given['no_create_home'] !== true && given['system'] !== true,
      passwordHash: text('hashed_passwd') ?? text('passwd'),
      sudo: given['sudo'] === null || given['sudo'] === undefined || given['sudo'] === false ? [] : [given['sudo']].flat().map(rule => lineOf(`${field}.sudo`, rule)),
      sshKeys: keysOf(`${field}.ssh_authorized_keys`, given['ssh_authorized_keys'] ?? given['ssh-authorized-keys']),
    },
  ]
}

function keysOf(field: string, value: unknown): readonly string[] {
  return listOf(field, value, USERS_LIMIT).map(key => lineOf(field, key))
}

function namesOf(field: string, value: unknown): readonly string[] {
  if (value === undefined || value === null) return []
  const names = typeof value === 'string' ? value.split(',') : listOf(field, value, USERS_LIMIT).map(name => wordOf(field, name))
  return names.map(name => nameOf(field, name.trim()))
}

function nameOf(field: string, name: string): string {
  if (!NAME.test(name)) throw wrong(`has in ${field} a name that no user or group can have`)
  return name
}

function lineOf(field: string, value: unknown): string {
  const line = wordOf(field, value).trim()
  if (line === '' || /[\r\n\0]/.test(line)) throw wrong(`has in ${field} something that is not one line`)
  return line
}

function wordOf(field: string, value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw wrong(`has in ${field} something that is no text: put it in quotes`)
}

function textOf(field: string, value: unknown): string | null {
  return value === undefined || value === null ? null : wordOf(field, value)
}

function listOf(field: string, value: unknown, limit: number): readonly unknown[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw wrong(`has ${field} that are not a list`)
  if (value.length > limit) throw wrong(`has ${value.length} entries in ${field}; at most ${limit} are allowed`)
  return value
}

function fieldsOf(field: string, value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) throw wrong(`has ${field} that is not a set of keys and values`)
  return value as Fields
}
