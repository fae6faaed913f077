/** What a launch does inside of its guest, through the engine: keys into the right home, and the script of user data. */
import type { Caller, Engine } from '../../engine/api.ts'
import type { CopyItem } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'

/** The user that Lambda's images are entered as; one without it is entered as root. */
const USER = 'ubuntu'
const ROOT: Account = { uid: 0, gid: 0, home: '/root' }
/** A file of this size is no list of users or keys. */
const READ_LIMIT_BYTES = 1024 * 1024
const SCRIPT_DIR = '/var/lib/berth'
const SCRIPT = `${SCRIPT_DIR}/user-data`
/** Where cloud-init writes it. */
const OUTPUT = '/var/log/cloud-init-output.log'
const RUN = `mkdir -p /var/log; exec ${SCRIPT} >>${OUTPUT} 2>&1 </dev/null`
const ENV = { HOME: '/root', PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }

interface Account {
  readonly uid: number
  readonly gid: number
  readonly home: string
}

/** Adds the keys to `~/.ssh/authorized_keys` of `ubuntu`, or of root where there is no such user. */
export async function installKeys(engine: Engine, caller: Caller, id: InstanceId, publicKeys: readonly string[]): Promise<void> {
  const account = accountOf((await readText(engine, caller, id, '/etc/passwd')) ?? '')
  const there = (await readText(engine, caller, id, `${account.home}/.ssh/authorized_keys`)) ?? ''
  const lines = there.split('\n').filter(line => line !== '')
  const missing = publicKeys.filter(key => !lines.includes(key))
  if (missing.length === 0) return
  const data = Buffer.from([...lines, ...missing, ''].join('\n'))
  const { uid, gid } = account
  await engine.instances.copyIn(
    caller,
    id,
    account.home,
    items([
      { ...entry('.ssh', 'directory', 0o700), uid, gid },
      { ...entry('.ssh/authorized_keys', 'file', 0o600, data.length), uid, gid, data },
    ]),
  )
}

/** Runs the script as root, its output where cloud-init writes it; the answer is its exit code. */
export async function runUserData(engine: Engine, caller: Caller, id: InstanceId, script: string): Promise<number> {
  const data = Buffer.from(script)
  await engine.instances.copyIn(
    caller,
    id,
    SCRIPT_DIR,
    items([{ ...entry('user-data', 'file', 0o700, data.length), data }]),
  )
  const session = await engine.instances.exec(caller, id, {
    command: ['/bin/sh', '-c', RUN],
    env: ENV,
    workingDir: '/',
    user: null,
    tty: null,
    timeoutMs: null,
  })
  await session.endInput()
  // Nothing comes but what the shell itself says before the script runs.
  for await (const { data: words } of session.output) void words
  return (await session.exit).code
}

/** `ubuntu` or root of an `/etc/passwd`. */
export function accountOf(passwd: string): Account {
  const accounts = passwd.split('\n').map(line => line.split(':'))
  for (const name of [USER, 'root']) {
    const fields = accounts.find(([user]) => user === name)
    const [, , uid = '', gid = '', , home = ''] = fields ?? []
    if (/^\d{1,9}$/.test(uid) && /^\d{1,9}$/.test(gid) && /^\/./.test(home)) return { uid: Number(uid), gid: Number(gid), home }
  }
  return ROOT
}

type Entry = Extract<CopyItem, { readonly type: 'entry' }>['entry']

function entry(path: string, kind: 'file' | 'directory', mode: number, sizeBytes = 0): Entry {
  return { path, kind, mode, uid: 0, gid: 0, sizeBytes, mtimeSeconds: Math.floor(Date.now() / 1000), linkTarget: null }
}

async function* items(entries: readonly (Entry & { readonly data?: Uint8Array })[]): AsyncIterable<CopyItem> {
  for (const { data, ...one } of entries) {
    yield { type: 'entry', entry: one }
    if (data !== undefined) yield { type: 'data', data }
  }
}

/** A text file of the guest; null if there is none. */
async function readText(engine: Engine, caller: Caller, id: InstanceId, path: string): Promise<string | null> {
  const info = await engine.instances.stat(caller, id, path, { followLinks: true })
  if (!info.exists || info.kind !== 'file') return null
  if (info.sizeBytes > READ_LIMIT_BYTES) throw new BerthError('guest_path', `${path} of the guest is too large to be read.`)
  const chunks: Uint8Array[] = []
  for await (const item of await engine.instances.copyOut(caller, id, path, { followLinks: true })) {
    if (item.type === 'data') chunks.push(item.data)
    if (item.type === 'error') throw new BerthError('guest_path', `${path} of the guest can't be read: ${item.message}`)
  }
  return Buffer.concat(chunks).toString()
}
