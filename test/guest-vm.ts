/** For the guest's own tests: QEMU without the rest of Berth, and small images made on the spot. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { GuestLink } from '../src/host/guest-link/link.ts'
import type { GuestConfig } from '../src/host/guest-link/guest-config.ts'
import { owe, paid } from './support/left-behind.ts'
import { parseLogLine, type AppLogLine } from '../src/host/guest-link/log-line.ts'

const run = promisify(execFile)
const REPOSITORY = dirname(import.meta.dirname)
const GUEST_DIR = process.env['BERTH_GUEST_DIR'] ?? join(REPOSITORY, '.berth', 'guest')
const BUILD_MS = 600_000
/** An emulated guest on a busy machine is slow. */
const BOOT_MS = 120_000
const END_MS = 120_000

export async function buildGuest(): Promise<void> {
  await run(join(REPOSITORY, 'guest', 'build.sh'), [GUEST_DIR], { timeout: BUILD_MS })
}

/** The files of one test's machines; removed with `remove`. */
export class Workshop {
  readonly dir: string
  #disks = 0

  private constructor(dir: string) {
    this.dir = dir
  }

  static async open(): Promise<Workshop> {
    await buildGuest()
    const workshop = new Workshop(await mkdtemp(join(tmpdir(), 'berth-guest-')))
    owe(workshop.dir, () => workshop.remove())
    return workshop
  }

  /** An erofs root with busybox and what `fill` adds to its directory. */
  async busyboxRoot(name: string, fill: (root: string) => Promise<void> = async () => undefined): Promise<string> {
    return await this.root(name, async (root) => {
      for (const path of ['bin', 'etc', 'root', 'home/ann', 'usr/bin', 'sbin']) await mkdir(join(root, path), { recursive: true })
      await copyFile('/bin/busybox', join(root, 'bin/busybox'))
      await chmod(join(root, 'bin/busybox'), 0o755)
      const { stdout } = await run('/bin/busybox', ['--list'], { timeout: 10_000 })
      for (const applet of stdout.trim().split('\n')) {
        if (applet !== 'busybox') await symlink('/bin/busybox', join(root, 'bin', applet))
      }
      await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n')
      await writeFile(join(root, 'etc/group'), 'root:x:0:\nann:x:1000:\nwheel:x:10:ann\nstaff:x:50:\n')
      await writeFile(join(root, 'etc/hello'), 'hello from the image\n')
      await writeFile(join(root, 'etc/not-executable'), 'text\n')
      await fill(root)
    })
  }

  async root(name: string, fill: (root: string) => Promise<void>): Promise<string> {
    const tree = join(this.dir, `${name}.tree`)
    const image = join(this.dir, `${name}.erofs`)
    await mkdir(tree, { recursive: true })
    await fill(tree)
    await run('mkfs.erofs', ['--all-root', '-T0', image, tree], { timeout: 60_000 })
    return image
  }

  async ext4(sizeBytes = 64 * 1024 * 1024, tree: string | null = null): Promise<string> {
    const path = join(this.dir, `disk-${this.#disks++}.ext4`)
    await writeFile(path, '')
    await truncate(path, sizeBytes)
    await run('mke2fs', ['-q', '-t', 'ext4', '-F', ...(tree === null ? [] : ['-d', tree]), path], { timeout: 60_000 })
    return path
  }

  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true })
    paid(this.dir)
  }
}

export interface MachineOptions {
  /** serial → file; erofs files are read-only. */
  readonly disks: Readonly<Record<string, string>>
  readonly memoryMb?: number
  readonly network?: boolean
}

export class Machine {
  readonly dir: string
  readonly startedAt: number
  readonly #process: ChildProcess
  readonly exited: Promise<number | null>
  #qmp: Qmp | null = null

  private constructor(dir: string, startedAt: number, child: ChildProcess) {
    this.dir = dir
    this.startedAt = startedAt
    this.#process = child
    this.exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
  }

  static async boot(workshop: Workshop, options: MachineOptions): Promise<Machine> {
    const dir = join(workshop.dir, randomBytes(4).toString('hex'))
    await mkdir(dir)
    const args = [
      '-M', 'q35,vmport=off', '-accel', 'tcg', '-cpu', 'max,-erms,-fsrm', '-smp', '1', '-m', `${options.memoryMb ?? 256}`,
      '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-sandbox', 'on',
      '-kernel', join(GUEST_DIR, 'vmlinuz'), '-initrd', join(GUEST_DIR, 'initramfs.gz'),
      '-append', 'console=ttyS0 quiet panic=-1 reboot=t tsc=reliable',
      '-chardev', `file,id=console,path=${join(dir, 'console.log')}`, '-serial', 'chardev:console',
      '-qmp', `unix:${join(dir, 'qmp.sock')},server=on,wait=off`,
      '-device', 'virtio-serial-pci,id=serial',
      '-chardev', `socket,id=agent,path=${join(dir, 'agent.sock')},server=on,wait=off`,
      '-device', 'virtserialport,chardev=agent,name=org.berth.agent',
      '-chardev', `file,id=log,path=${join(dir, 'app.log')},append=on`,
      '-device', 'virtserialport,chardev=log,name=org.berth.log',
    ]
    for (let port = 0; port < 2; port++) args.push('-device', `pcie-root-port,id=spare${port},chassis=${port + 1},slot=${port + 1}`)
    for (const [index, [serial, file]] of Object.entries(options.disks).entries()) {
      const readOnly = file.endsWith('.erofs') ? 'on' : 'off'
      args.push('-drive', `if=none,id=d${index},file=${file},format=raw,read-only=${readOnly},file.locking=off`)
      args.push('-device', `virtio-blk-pci,drive=d${index},serial=${serial}`)
    }
    if (options.network === true) args.push('-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,mac=52:54:00:aa:bb:cc')
    const startedAt = performance.now()
    const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'inherit', 'inherit'] })
    owe(dir, async () => void child.kill('SIGKILL'))
    child.once('exit', () => paid(dir))
    return new Machine(dir, startedAt, child)
  }

  get socketPath(): string {
    return join(this.dir, 'agent.sock')
  }

  async connect(): Promise<GuestLink> {
    return await GuestLink.connect(this.socketPath, { timeoutMs: BOOT_MS })
  }

  async log(): Promise<readonly AppLogLine[]> {
    const text = await readFile(join(this.dir, 'app.log'), 'utf8')
    return text.split('\n').slice(0, -1).map(parseLogLine)
  }

  /** Waits for a line of the application's. */
  async logged(text: string): Promise<void> {
    const deadline = Date.now() + END_MS
    while (!(await this.log()).some((line) => line.kind === 'output' && line.record.text === text)) {
      if (Date.now() > deadline) throw new Error(`the application never wrote "${text}"`)
      await delay(20)
    }
  }

  async console(): Promise<string> {
    return await readFile(join(this.dir, 'console.log'), 'utf8')
  }

  async qmp(execute: string, args: object = {}): Promise<unknown> {
    this.#qmp ??= await Qmp.connect(join(this.dir, 'qmp.sock'))
    return await this.#qmp.run(execute, args)
  }

  /** Waits for QEMU to end by itself. */
  async ended(): Promise<number | null> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('the VM did not power off')), END_MS)
    })
    try {
      return await Promise.race([this.exited, late])
    } finally {
      clearTimeout(timer)
    }
  }

  async kill(): Promise<void> {
    this.#qmp?.close()
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill('SIGKILL')
    await this.exited
  }
}

class Qmp {
  readonly #socket: Socket
  readonly #waiting: ((answer: { return?: unknown; error?: { desc: string } }) => void)[] = []

  private constructor(socket: Socket) {
    this.#socket = socket
    createInterface({ input: socket }).on('line', (line) => {
      const answer = JSON.parse(line)
      if ('return' in answer || 'error' in answer) this.#waiting.shift()?.(answer)
    })
  }

  static async connect(path: string): Promise<Qmp> {
    const socket = createConnection(path)
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    const qmp = new Qmp(socket)
    await qmp.run('qmp_capabilities', {})
    return qmp
  }

  async run(execute: string, args: object): Promise<unknown> {
    const answer = await new Promise<{ return?: unknown; error?: { desc: string } }>((resolve) => {
      this.#waiting.push(resolve)
      this.#socket.write(JSON.stringify({ execute, arguments: args }) + '\n')
    })
    if (answer.error !== undefined) throw new Error(answer.error.desc)
    return answer.return
  }

  close(): void {
    this.#socket.destroy()
  }
}

export const PLAIN_CONFIG: GuestConfig = {
  hostname: 'dock',
  machineId: '0123456789abcdef0123456789abcdef',
  network: null,
  dns: [],
  root: { serial: 'root', overlaySerial: 'overlay' },
  volumes: [],
}

export async function collect(output: AsyncIterable<{ stream: 'stdout' | 'stderr'; data: Uint8Array }>): Promise<{ stdout: string; stderr: string }> {
  const parts = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] }
  for await (const { stream, data } of output) parts[stream].push(Buffer.from(data))
  return { stdout: Buffer.concat(parts.stdout).toString(), stderr: Buffer.concat(parts.stderr).toString() }
}
