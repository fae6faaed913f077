/** For tests of the QEMU host: a host over a directory of its own, on a network of its own, and what it left behind. */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { ExecRequest, Host, HostEvent, HostImage, LogQuery, LogRecord, VmRef, VmSpec, VmVolume } from '../src/engine/host-port.ts'
import { macOf, nthAddress, parseSubnet } from '../src/instance/address.ts'
import type { InstanceId, VolumeId } from '../src/instance/model.ts'
import { openNetwork } from '../src/host/network/network.ts'
import { openQemuHost, type QemuHostOptions } from '../src/host/qemu-host.ts'
import { buildGuest } from './guest-vm.ts'
import { owe, paid, removeRemains } from './support/left-behind.ts'

const run = promisify(execFile)
const MIB = 1024 * 1024
export const GUEST_DIR = join(dirname(import.meta.dirname), '.berth', 'guest')
/** Emulated guests on a busy machine are slow; nothing here measures time. */
export const PATIENCE_MS = 120_000
export const isRoot = process.getuid?.() === 0

export interface Lab {
  readonly host: Host
  readonly image: HostImage
  readonly dataDir: string
  readonly runDir: string
  readonly bridgeName: string
  readonly events: HostEvent[]
  /** A spec of a new instance; the command sleeps for ever unless another is given. */
  spec(more?: Partial<VmSpec>): VmSpec
  /** Another host object over the same directory, as after a crash of the server; `more` replaces options for it alone. */
  reopen(more?: Partial<QemuHostOptions>): Promise<void>
  close(): Promise<void>
}

export async function openLab(options: Partial<QemuHostOptions> = {}): Promise<Lab> {
  await buildGuest()
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'berth-host-')))
  const runDir = await mkdtemp('/tmp/bh-')
  // Users of their own run the VMs, and must get through.
  for (const dir of [dataDir, runDir]) await chmod(dir, 0o755)
  const subnet = `172.${randomInt(18, 31)}.${randomInt(0, 255)}.0/24`
  const bridgeName = `bq${randomBytes(4).toString('hex')}`
  const network = { subnet, bridgeName, mode: isRoot ? 'bridge' : 'user' } as const
  const open = (more: Partial<QemuHostOptions> = {}) => openQemuHost({ artifactsDir: GUEST_DIR, accelerator: 'tcg', network, ...options, ...more, dataDir, runDir })
  let opened: Host | null = null
  owe(dataDir, async () => {
    // Closed while its VMs end: it starts no others, and waits for nothing that they were to do.
    const closing = opened?.close().catch(() => undefined)
    await removeRemains({ dataDir, runDir, network })
    await closing
  })
  let host = await open()
  opened = host
  const events: HostEvent[] = []
  host.onEvent((event) => events.push(event))
  const image = await pullBuiltIn(host)
  let next = 0
  return {
    get host() {
      return host
    },
    image,
    dataDir,
    runDir,
    bridgeName,
    events,
    spec: (more = {}) => {
      const ip = nthAddress(parseSubnet(subnet), next++)
      return {
        instanceId: randomUUID() as InstanceId,
        generation: 1,
        name: 'lab',
        hostname: 'lab',
        image: image.digest,
        imageConfig: image.config,
        vcpus: 1,
        memoryBytes: 128 * MIB,
        overlayBytes: 64 * MIB,
        diskIoBytesPerSecond: null,
        command: ['sleep', '1000000'],
        env: { PATH: '/bin:/usr/bin:/sbin' },
        workingDir: '/',
        user: 'root',
        network: { ip, mac: macOf(ip), network: 'default', downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [], peerGroup: null },
        volumes: [],
        sshKeys: [],
        ...more,
      }
    },
    reopen: async (more) => {
      await host.close()
      host = await open(more)
      opened = host
      host.onEvent((event) => events.push(event))
    },
    close: async () => {
      for (const vm of await host.inventory()) await host.destroy(vm)
      await host.close()
      await (await openNetwork({ ...network, owner: dataDir })).teardown()
      await rm(runDir, { recursive: true, force: true })
      await rm(dataDir, { recursive: true, force: true })
      paid(dataDir)
    },
  }
}

export function refOf(spec: VmRef): VmRef {
  return { instanceId: spec.instanceId, generation: spec.generation }
}

export function pullBuiltIn(host: Host): Promise<HostImage> {
  return host.pullImage({
    name: 'localhost/busybox:latest',
    credentials: null,
    platform: null,
    onProgress: () => undefined,
    signal: new AbortController().signal,
  })
}

export interface Output {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export async function exec(host: Host, vm: VmRef, command: readonly string[], more: Partial<ExecRequest> = {}): Promise<Output> {
  const session = await host.exec(refOf(vm), { command, env: {}, workingDir: null, user: null, tty: null, timeoutMs: null, ...more })
  const said = { stdout: '', stderr: '' }
  for await (const { stream, data } of session.output) said[stream] += Buffer.from(data).toString('utf8')
  const { code } = await session.exit
  return { code, stdout: said.stdout.trim(), stderr: said.stderr.trim() }
}

export async function shell(host: Host, vm: VmRef, script: string): Promise<string> {
  const { code, stdout, stderr } = await exec(host, vm, ['sh', '-c', script])
  if (code !== 0) throw new Error(`"${script}" ended with ${code}: ${stderr}`)
  return stdout
}

export async function logLines(host: Host, vm: VmRef, query: Partial<LogQuery> = {}): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for await (const record of host.logs(refOf(vm), { source: 'app', tail: null, follow: false, signal: new AbortController().signal, ...query })) records.push(record)
  return records
}

/** Looks until there is something; fails after a long while. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined | null | false> | T | undefined | null | false): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== null && found !== false) return found
    if (Date.now() > deadline) throw new Error(`it never came: ${what}`)
    await delay(20)
  }
}

export function untilExited(lab: Lab, vm: VmRef): Promise<Extract<HostEvent, { kind: 'exited' }>> {
  return eventually('the end of the VM', () =>
    lab.events.find((event): event is Extract<HostEvent, { kind: 'exited' }> => event.kind === 'exited' && event.vm.instanceId === vm.instanceId),
  )
}

export function volume(volumeId: VolumeId, path: string, mode: VmVolume['mode'], overlayBytes: number | null = null): VmVolume {
  return { volumeId, path, mode, overlayBytes }
}

/** Process ids of the QEMUs of an instance. */
export async function qemusOf(instanceId: InstanceId): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (/qemu-system[^\0]*\0/.test(command) && command.includes(`guest=${instanceId}`) && !command.startsWith('setpriv')) found.push(Number(name))
  }
  return found
}

/** Everything on the machine that bears the instance's name: directories, control groups, interfaces, processes. */
export async function traces(lab: Lab, instanceId: InstanceId): Promise<string[]> {
  const found: string[] = []
  for (const path of [join(lab.dataDir, 'instances', instanceId), ...(await readdir(lab.runDir)).map((name) => join(lab.runDir, name, instanceId))]) {
    if (existsSync(path)) found.push(path)
  }
  const { stdout: groups } = await run('find', ['/sys/fs/cgroup', '-type', 'd', '-name', instanceId], { timeout: 20_000 }).catch(() => ({ stdout: '' }))
  found.push(...groups.split('\n').filter((line) => line !== ''))
  const { stdout: links } = await run('ip', ['-d', 'link'], { timeout: 20_000 })
  if (links.includes(instanceId)) found.push(`an interface with the alias ${instanceId}`)
  for (const pid of await qemusOf(instanceId)) found.push(`process ${pid}`)
  return found
}
