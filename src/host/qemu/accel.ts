/**
 * Which accelerator this machine really has: KVM is proved by booting a guest under it, not assumed.
 *
 * A /dev/kvm that opens, and even creates a VM and a vCPU, may still never run a stock kernel (a nested
 * paravirtual host does this). So the guest's own kernel and agent are booted under KVM once, with a short
 * deadline; the verdict is remembered until the host restarts or QEMU or the kernel change.
 */
import { constants } from 'node:fs'
import { access, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { BerthError } from '../../instance/errors.ts'
import { runCommand } from '../command.ts'
import { readJson, writeJson } from './atomic-file.ts'
import { bootId } from './identity.ts'
import type { Jail } from './jail.ts'
import { machineArgs, type Accelerator } from './machine.ts'
import { killVm, spawnVm } from './process.ts'
import { QmpClient } from './qmp.ts'

export const QEMU = 'qemu-system-x86_64'
/** A working KVM boots the probe in well under a second. */
export const PROBE_TIMEOUT_MS = 8_000
const PROBE_MEMORY_BYTES = 256 * 1024 * 1024

export interface AcceleratorVerdict {
  readonly accelerator: Accelerator
  /** One sentence for a person. */
  readonly reason: string
}

export interface ProbeOptions {
  /** Where the verdict is remembered. */
  readonly verdictPath: string
  /** A directory for the probe's sockets; it exists. */
  readonly runDir: string
  readonly kernelPath: string
  readonly initramfsPath: string
  /** Changes when kernel or initramfs do. */
  readonly guestVersion: string
  readonly qemuVersion: string
  readonly jail: Jail
  readonly timeoutMs?: number
}

/** `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)`; throws `host_unavailable` if QEMU isn't installed. */
export async function qemuVersion(): Promise<string> {
  const said = await runCommand(QEMU, ['--version'])
  return /version (.+)/.exec(said.split('\n')[0] ?? '')?.[1]?.trim() ?? 'unknown'
}

/** The verdict that BERTH_ACCEL forces, the remembered one, or a proof. */
export async function chooseAccelerator(wanted: Accelerator | null, options: ProbeOptions): Promise<AcceleratorVerdict> {
  if (wanted !== null) return { accelerator: wanted, reason: `BERTH_ACCEL=${wanted} asks for it.` }
  const key = [bootId(), options.qemuVersion, options.guestVersion, `uid ${options.jail.separate ? 'own' : 'ours'}`].join(' | ')
  const remembered = await readJson(options.verdictPath)
  if (isVerdict(remembered) && remembered.key === key) return { accelerator: remembered.accelerator, reason: remembered.reason }
  const verdict = await prove(options)
  await mkdir(dirname(options.verdictPath), { recursive: true })
  await writeJson(options.verdictPath, { key, ...verdict })
  return verdict
}

/** Boots the probe guest under KVM. Never hangs: the deadline kills it. */
export async function prove(options: ProbeOptions): Promise<AcceleratorVerdict> {
  const unusable = await whyUnusable()
  if (unusable !== null) return emulation(unusable)
  const timeoutMs = options.timeoutMs ?? PROBE_TIMEOUT_MS
  const dir = await mkdtemp(join(options.runDir, 'probe-'))
  const file = (name: string) => join(dir, name)
  try {
    for (const name of ['memory', 'console', 'app']) await writeFile(file(name), '', { mode: 0o600 })
    await truncate(file('memory'), PROBE_MEMORY_BYTES)
    for (const name of ['', 'memory', 'console', 'app']) await options.jail.give(file(name), PROBE_ID, name === '' ? 0o700 : 0o600)
    const args = machineArgs({
      name: 'berth-probe',
      accelerator: 'kvm',
      vcpus: 1,
      memoryBytes: PROBE_MEMORY_BYTES,
      memoryPath: file('memory'),
      kernelPath: options.kernelPath,
      initramfsPath: options.initramfsPath,
      root: null,
      overlay: null,
      volumes: [],
      diskIoBytesPerSecond: null,
      network: null,
      qmpSocket: file('qmp'),
      agentSocket: file('agent'),
      appLog: file('app'),
      consoleLog: file('console'),
      incoming: false,
    })
    const failure = await bootProbe(options.jail.wrap(QEMU, args, PROBE_ID), file('qmp'), file('log'), timeoutMs)
    if (failure === null) return { accelerator: 'kvm', reason: 'A guest came up under KVM.' }
    return emulation(`/dev/kvm is there, but ${failure}`)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Only names the probe's user; no instance has this id. */
const PROBE_ID = '00000000-0000-4000-8000-000000000000' as Parameters<Jail['uidOf']>[0]

/** null when the guest's agent opened its port; otherwise why not. */
async function bootProbe(command: readonly string[], qmpSocket: string, logPath: string, timeoutMs: number): Promise<string | null> {
  const deadline = performance.now() + timeoutMs
  const vm = await spawnVm({ command, logPath })
  let hasEnded = false
  const ended = vm.ended.then(() => {
    hasEnded = true
  })
  let qmp: QmpClient | null = null
  try {
    qmp = await QmpClient.connect(qmpSocket, {
      timeoutMs,
      guard: () => {
        if (hasEnded) throw new BerthError('internal', 'QEMU ended at once.')
      },
    })
    const opened = qmp.nextEvent(({ event, data }) => event === 'VSERPORT_CHANGE' && data['open'] === true, Math.max(1, deadline - performance.now()))
    await opened
    return null
  } catch {
    // Whatever went wrong, the process tells which of the two failures it was.
    const died = await Promise.race([ended.then(() => true), new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 50))])
    if (!died) return `no guest came up under it within ${timeoutMs / 1000} s.`
    return `QEMU ended under it${await lastWords(logPath)}.`
  } finally {
    qmp?.close()
    await killVm(vm.identity)
  }
}

async function lastWords(logPath: string): Promise<string> {
  const lines = (await readFile(logPath, 'utf8').catch(() => '')).split('\n').filter((line) => line.trim() !== '')
  const first = lines.find((line) => line.includes('error') || line.includes('failed') || line.includes('Could not')) ?? lines.at(-1)
  return first === undefined ? '' : ` (${first.replace(/^qemu-system-x86_64: /, '').slice(0, 200)})`
}

async function whyUnusable(): Promise<string | null> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK)
    return null
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    return missing ? 'This machine has no /dev/kvm.' : 'Berth may not use /dev/kvm: add its user to the group kvm.'
  }
}

function emulation(why: string): AcceleratorVerdict {
  return { accelerator: 'tcg', reason: `${why} VMs run under software emulation (TCG), several times slower.` }
}

function isVerdict(value: unknown): value is AcceleratorVerdict & { readonly key: string } {
  return typeof value === 'object' && value !== null && 'key' in value && 'accelerator' in value && 'reason' in value
}
