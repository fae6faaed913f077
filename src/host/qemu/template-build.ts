/**
 * Makes a template: boots a guest on stand-ins for disks and network until its agent waits to be told who it
 * is, stops it there, and keeps its memory and its devices.
 *
 *   boot ─▶ agent answers, unconfigured ─▶ stop ─▶ devices to a file ─▶ quit ─▶ memory sealed and kept ─▶ template.json
 *                        └─▶ of an image: its root is mounted, a launch rehearsed ─┘
 *
 * One of an image needs no boot where the general one of its size is there: it begins with a copy of that memory.
 *
 * Nothing of any tenant is in it: no name, no address, no key, and no image but that of an image's own template.
 */
import { randomUUID } from 'node:crypto'
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setPriority } from 'node:os'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import { asDiskError } from '../command.ts'
import { GuestLink } from '../guest-link/link.ts'
import { ipBatch } from '../network/ip-batch.ts'
import { ownerName } from '../network/names.ts'
import type { HostPaths } from '../paths.ts'
import { QEMU } from './accel.ts'
import { CLONE_STATE_DESCRIPTOR, loadDeviceState, saveDeviceState } from './device-state.ts'
import { readLayer, saveLayer } from './layer.ts'
import { machineArgs, type MachineNetwork, type MachineSpec } from './machine.ts'
import { copyWholeMemory, saveWholeMemory } from './memory-file.ts'
import { killVm, spawnVm, untilGone } from './process.ts'
import { QmpClient } from './qmp.ts'
import { rehearsalConfig } from './rehearsal.ts'
import { SharedMemory } from './shared-memory.ts'
import { asTemplate, sealTemplate, templateFiles, type Template, type TemplateKey } from './template.ts'
import type { TemplateHome } from './templates.ts'

/** A boot takes a second under emulation on an idle machine, and many on a busy one. */
const BOOT_TIMEOUT_MS = 120_000
const SOCKET_TIMEOUT_MS = 30_000
const QUIT_TIMEOUT_MS = 10_000
/** Larger than any disk an instance can have: its guest looks for the real size when it gets the disk. */
const PLACEHOLDER_BYTES = 16 * 1024 ** 4 - 1024 ** 2
/** Nobody's: each clone gets its own before its interface is up. */
const PLACEHOLDER_MAC = '02:00:00:00:00:01'
const MEMORY_DESCRIPTOR = 3
/** Nobody waits for an image's template: everything else goes first. */
const LEAST_PRIORITY = 19
/** The layer, while its guest writes it. */
const LAYER_DISK = 'layer.ext4'

export interface BuildOptions {
  /** Makes the memory. */
  readonly tool: string
  /** The image's root, for a template of an image. */
  readonly root: string | null
  /** The general one of its size, whose guest has booted already; null boots one. */
  readonly base: Template | null
  /** Ends it early. */
  readonly signal: AbortSignal
}

/** Boots and keeps a template; leaves nothing behind if it throws. */
export async function buildTemplate(home: TemplateHome, key: TemplateKey, { tool, root, base, signal }: BuildOptions): Promise<Template> {
  const id = randomUUID()
  const owner = id as InstanceId
  const files = templateFiles(home.paths.templates, id)
  const memory = await SharedMemory.make(tool, key.memoryBytes)
  try {
    // VMs pass through to what QEMU writes; what is in here stays ours.
    await mkdir(files.dir, { recursive: true })
    await chmod(files.dir, 0o711)
    const disks = key.image === null || root === null ? null : { root, overlay: join(files.dir, LAYER_DISK) }
    if (disks !== null && key.image !== null) {
      await home.volumes.createOverlay(disks.overlay, key.image.overlayBytes)
      // Before anything is booted for nothing.
      await readLayer(disks.overlay)
      await home.jail.give(disks.overlay, owner, 0o600)
    }
    if (base !== null) await copyWholeMemory(base.memory.file, memory.file, memory.bytes)
    await bootOnce({ home, key, owner, memory, disks, base, statePath: files.state, signal })
    await chown(files.state, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
    await chmod(files.state, 0o600)
    await memory.seal()
    await saveWholeMemory(memory.file, memory.bytes, files.memory)
    const layer = disks === null ? null : await readLayer(disks.overlay)
    if (layer !== null) await saveLayer(layer, files.layer)
    if (disks !== null) await rm(disks.overlay)
    const record = await sealTemplate(files, key)
    await chmod(files.dir, 0o700)
    return await asTemplate(files, id, record, memory, layer)
  } catch (error) {
    await memory.close()
    await rm(files.dir, { recursive: true, force: true })
    throw asDiskError(error, 'a template')
  }
}

/** The tap of the template that is being made: one at a time on a host. */
export function templateTap(paths: Pick<HostPaths, 'run'>): string {
  return `bt${paths.run.slice(-8)}`
}

interface Boot {
  readonly home: TemplateHome
  readonly key: TemplateKey
  /** Whose user QEMU runs as: nobody else's. */
  readonly owner: InstanceId
  readonly memory: SharedMemory
  /** Of an image's template; null where disks only stand in. */
  readonly disks: { readonly root: string; readonly overlay: string } | null
  /** What is in the memory already; null boots. */
  readonly base: Template | null
  readonly statePath: string
  readonly signal: AbortSignal
}

async function bootOnce(boot: Boot): Promise<void> {
  const { home, key, owner } = boot
  const dir = join(home.paths.run, `t-${owner.slice(0, 8)}`)
  const file = (name: string): string => join(dir, name)
  const tap = key.network === 'tap' ? templateTap(home.paths) : null
  try {
    await mkdir(dir, { recursive: true })
    for (const log of ['console', 'app']) await writeFile(file(log), '', { mode: 0o600 })
    for (const name of ['', 'console', 'app']) await home.jail.give(file(name), owner, name === '' ? 0o700 : 0o600)
    if (tap !== null) await makeBareTap(tap, home.jail.uidOf(owner), home.paths.data)
    await bootAndSave(boot, templateMachine(boot, file, tap), file('log'))
  } finally {
    await rm(dir, { recursive: true, force: true })
    if (tap !== null) await ipBatch([`link delete dev ${tap}`]).catch(() => undefined) // it was never made
  }
}

async function bootAndSave(boot: Boot, spec: MachineSpec, logPath: string): Promise<void> {
  const { home, key, owner, memory, base, statePath } = boot
  const saved = (await base?.openState()) ?? null
  const descriptors = [memory.file.fd, ...(saved === null ? [] : [saved.fd])]
  const vm = await spawnVm({ command: home.jail.wrap(QEMU, machineArgs(spec), owner), logPath, descriptors }).finally(() => saved?.close())
  const ended = new AbortController()
  void vm.ended.then(() => ended.abort())
  if (boot.disks !== null) yieldToAll(vm.identity.pid)
  const stop = AbortSignal.any([ended.signal, boot.signal])
  let qmp: QmpClient | null = null
  try {
    qmp = await QmpClient.connect(spec.qmpSocket, { timeoutMs: SOCKET_TIMEOUT_MS, guard: () => stop.throwIfAborted() })
    if (base !== null) {
      await loadDeviceState(qmp, CLONE_STATE_DESCRIPTOR)
      // The guest still believes in the stand-in's size.
      await qmp.execute('block_resize', { 'node-name': 'overlay', size: key.image?.overlayBytes ?? 0 })
      await qmp.execute('cont')
    }
    const link = await GuestLink.connect(spec.agentSocket, { timeoutMs: BOOT_TIMEOUT_MS, signal: stop })
    const { state } = link.status
    if (state !== 'unconfigured') throw new BerthError('internal', `A template's guest is ${state} before anybody told it who it is.`)
    // What the boot left to do is done when the agent has nothing else to do but answer.
    await link.ping()
    if (boot.disks !== null) {
      const nobody = rehearsalConfig(boot.key.network !== 'none')
      await link.mountRoot(nobody)
      await link.rehearse(nobody)
    }
    link.close()
    await qmp.execute('stop')
    await saveDeviceState(qmp, home.jail, owner, statePath)
    await qmp.execute('quit').catch(() => undefined) // it may close the socket first
    if (!(await untilGone(vm.identity, QUIT_TIMEOUT_MS))) throw new BerthError('timeout', "A template's QEMU did not end.")
    // Its main thread goes first; memory that any thread still maps can't be sealed.
    await vm.ended
  } catch (error) {
    throw ended.signal.aborted ? new BerthError('internal', "A template's QEMU ended while it booted.", { cause: asBerthError(error) }) : error
  } finally {
    qmp?.close()
    await killVm(vm.identity)
  }
}

/** Its threads are yet to come: they take after this one. */
function yieldToAll(pid: number): void {
  try {
    setPriority(pid, LEAST_PRIORITY)
  } catch {
    // It ended, which is seen elsewhere.
  }
}

function templateMachine({ home, key, disks, base }: Boot, file: (name: string) => string, tap: string | null): MachineSpec {
  return {
    name: 'berth-template',
    accelerator: key.machine.accelerator,
    vcpus: key.vcpus,
    memoryBytes: key.memoryBytes,
    memoryPath: `/proc/self/fd/${MEMORY_DESCRIPTOR}`,
    memory: base === null ? 'own' : 'copy',
    kernelPath: base === null ? home.artifacts.kernel : home.artifacts.kernelStub,
    initramfsPath: base === null ? home.artifacts.initramfs : null,
    tscKhz: home.artifacts.tscKhz,
    root: disks?.root ?? null,
    overlay: disks?.overlay ?? null,
    ...(disks === null ? { placeholderBytes: PLACEHOLDER_BYTES } : {}),
    volumes: [],
    diskIoBytesPerSecond: null,
    network: templateNetwork(key, tap),
    qmpSocket: file('qmp'),
    agentSocket: file('agent'),
    appLog: file('app'),
    consoleLog: file('console'),
    incoming: base !== null,
  }
}

function templateNetwork(key: TemplateKey, tap: string | null): MachineNetwork | null {
  if (tap !== null) return { kind: 'tap', mac: PLACEHOLDER_MAC, tap }
  return key.network === 'user' ? { kind: 'user', mac: PLACEHOLDER_MAC, options: ['restrict=on'] } : null
}

/** A tap on no bridge: it leads nowhere, but offers the guest what an instance's tap offers. Its alias tells whose it is. */
async function makeBareTap(tap: string, ownerUid: number, dataDir: string): Promise<void> {
  await ipBatch([`link delete dev ${tap}`]).catch(() => undefined) // one that a dead server left
  await ipBatch([`tuntap add dev ${tap} mode tap user ${ownerUid}`, `link set dev ${tap} alias "${ownerName(dataDir)}"`])
}
