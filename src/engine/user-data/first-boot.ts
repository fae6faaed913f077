/**
 * User data and keys as what a host does with them at an instance's first start (`FirstBoot`): for an image with a
 * cloud-init of its own its NoCloud seed, for every other one files and a script that mean the same.
 *
 *   parts ─▶ files (before the application) + one script (after it): bootcmd, groups, users, owners, hostname, keys,
 *            deferred files, runcmd, scripts; a step that fails is told, and the next one is taken
 */
import type { FirstBoot, GuestFile } from '../host-port.ts'
import type { CloudConfig, Command, FileWish, UserWish } from './cloud-config.ts'
import { readCloudConfig } from './cloud-config.ts'
import type { UserDataPart } from './parts.ts'
import { partsOf } from './parts.ts'
import { EPILOGUE, line, PRELUDE, quoted } from './shell.ts'

/** Where the guest keeps what its user data became; only root reads it. */
const DIR = '/var/lib/berth/user-data'
const SEED_DIR = '/var/lib/cloud/seed/nocloud'

export interface FirstBootWish {
  readonly instanceId: string
  readonly hostname: string
  readonly sshKeys: readonly string[]
  readonly userData: string | null
}

/** Throws `invalid_request` if it can't be user data. */
export function checkUserData(userData: string): void {
  for (const part of partsOf(userData)) if (part.kind === 'cloud-config') readCloudConfig(part.text)
}

export function firstBootOf(wish: FirstBootWish): Omit<FirstBoot, 'configFiles'> {
  return { seed: seedOf(wish), ...plan(wish.userData) }
}

function seedOf({ instanceId, hostname, sshKeys, userData }: FirstBootWish): readonly GuestFile[] {
  // JSON is YAML, and needs no rules for quotes.
  const metaData = { 'instance-id': instanceId, 'local-hostname': hostname, 'public-keys': sshKeys }
  return [
    file(`${SEED_DIR}/meta-data`, `${JSON.stringify(metaData)}\n`, 0o600),
    file(`${SEED_DIR}/user-data`, userData ?? '', 0o600),
    // The address is Berth's to give: without this cloud-init would ask a DHCP server that isn't there.
    file('/etc/cloud/cloud.cfg.d/99-berth.cfg', 'network: {config: disabled}\ndatasource_list: [NoCloud, None]\n', 0o644),
  ]
}

function plan(userData: string | null): Pick<FirstBoot, 'files' | 'script'> {
  if (userData === null) return { files: [], script: null }
  const files: GuestFile[] = []
  const lines: string[] = []
  const later: string[] = []
  for (const [index, part] of partsOf(userData).entries()) addPart({ files, lines, later }, part, index + 1)
  if (lines.length === 0 && later.length === 0) return { files, script: null }
  const script = `${DIR}/run`
  files.push(file(script, `${PRELUDE}${[...lines, ...later].join('\n')}\n${EPILOGUE}`, 0o700))
  return { files, script }
}

interface Plan {
  readonly files: GuestFile[]
  /** What prepares the machine, and then what runs on it. */
  readonly lines: string[]
  readonly later: string[]
}

function addPart(into: Plan, part: UserDataPart, number: number): void {
  const path = `${DIR}/part-${String(number).padStart(3, '0')}`
  switch (part.kind) {
    case 'script':
      into.files.push(file(path, part.text, 0o700))
      into.later.push(line('step', path))
      return
    case 'cloud-config':
      addConfig(into, readCloudConfig(part.text), path)
      return
    case 'other':
      into.lines.push(line('tell', `${part.name} is only done by an image with a cloud-init of its own; this part is left out`), 'failed=1')
  }
}

function addConfig({ files, lines, later }: Plan, config: CloudConfig, path: string): void {
  for (const key of config.notDone) {
    lines.push(line('tell', `${key} is only done by an image with a cloud-init of its own; it is left out`), 'failed=1')
  }
  addCommands(files, lines, `${path}-bootcmd`, config.bootCommands)
  for (const { name, members } of config.groups) {
    lines.push(line('step', 'add_group', name), ...members.map(member => line('step', 'join_group', member, name)))
  }
  for (const user of config.users) lines.push(...userLines(user))
  const atOnce = config.files.filter(one => !one.append && !one.defer)
  for (const one of atOnce) files.push({ path: one.path, mode: one.mode, data: one.data })
  for (const { path: target, owner } of atOnce) if (owner !== null) lines.push(line('step', 'write_owner', target, owner))
  if (config.hostname !== null) lines.push(line('step', 'set_hostname', config.hostname))
  for (const key of config.sshKeys) lines.push(line('step', 'allow_key', '', key))
  for (const [index, one] of config.files.entries()) if (one.append || one.defer) lines.push(...stagedLines(files, `${path}-file-${index + 1}`, one))
  addCommands(files, later, `${path}-runcmd`, config.runCommands)
  if (config.finalMessage !== null) later.push(line('printf', '%s\\n', config.finalMessage))
}

function stagedLines(files: GuestFile[], staged: string, one: FileWish): readonly string[] {
  files.push({ path: staged, mode: one.append ? 0o600 : one.mode, data: one.data })
  const place = one.append ? line('step', 'append_file', staged, one.path, one.mode.toString(8)) : line('step', 'install_file', staged, one.path)
  return one.owner === null ? [place] : [place, line('step', 'write_owner', one.path, one.owner)]
}

function userLines(user: UserWish): readonly string[] {
  const { name, uid, gecos, home, shell, primaryGroup } = user
  const flag = (value: boolean) => (value ? 'yes' : '')
  return [
    line('step', 'add_user', name, uid ?? '', gecos ?? '', home ?? '', shell ?? '', primaryGroup ?? '', flag(user.system), flag(user.makeHome)),
    ...user.groups.map(group => line('step', 'join_group', name, group)),
    ...(user.passwordHash === null ? [] : [line('step', 'set_password', name, user.passwordHash)]),
    ...user.sudo.map(rule => line('step', 'allow_sudo', name, rule)),
    ...user.sshKeys.map(key => line('step', 'allow_key', name, key)),
  ]
}

/** The commands as one script of their own, so that one of them may `cd`, or `exit`. */
function addCommands(files: GuestFile[], lines: string[], path: string, commands: readonly Command[]): void {
  if (commands.length === 0) return
  const text = commands.map(command => (typeof command === 'string' ? command : command.map(word => quoted(word)).join(' ')))
  files.push(file(path, `#!/bin/sh\n${text.join('\n')}\n`, 0o700))
  lines.push(line('step', path))
}

function file(path: string, text: string, mode: number): GuestFile {
  return { path, mode, data: Buffer.from(text) }
}
