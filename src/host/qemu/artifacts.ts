/**
 * The guest's kernel and initramfs: built by guest/build.sh, copied into the data directory by version.
 *
 * The copy makes a server independent of a rebuild under its feet, and readable to VMs, which run as users
 * of their own and can't reach into a checkout in somebody's home.
 */
import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { access, chmod, copyFile, mkdir, open, readFile, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { BerthError } from '../../instance/errors.ts'
import { asDiskError, runCommand } from '../command.ts'
import type { GuestArtifacts } from './context.ts'
import { requireCurrentBuild } from './guest-build.ts'

const KERNEL = 'vmlinuz'
const INITRAMFS = 'initramfs.gz'
const MEMORY_TOOL = 'sealed-memory'
const SENT = 'kernel/sent'
const MODULE_NAME = /^[a-z0-9_-]{1,64}$/
const AGENT = 'agent'
const SMALL_PAGES_TOOL = 'small-pages'
/** As much of the kernel as QEMU looks at before it runs it. */
const KERNEL_STUB = 'vmlinuz-stub'
const SECTOR_BYTES = 512
/** Where a kernel says how many sectors its set-up has after the first. */
const SETUP_SECTORS_AT = 0x1f1
const DEFAULT_SETUP_SECTORS = 4
const TSC_TOOL = 'tsc-rate'

/** Takes what was built into `ownDir`, and removes older versions there. Throws `host_unavailable` if nothing was built, or from other sources. */
export async function takeArtifacts(builtDir: string, ownDir: string): Promise<GuestArtifacts> {
  const kernel = await builtFile(builtDir, KERNEL)
  const initramfs = await builtFile(builtDir, INITRAMFS)
  await requireCurrentBuild(builtDir)
  // By content: a rebuild that changed nothing is the same version.
  const version = createHash('sha256').update(`${await hashOf(kernel)} ${await hashOf(initramfs)}`).digest('hex').slice(0, 16)
  const dir = join(ownDir, version)
  const program = (name: string) => access(join(builtDir, name), constants.X_OK).then(() => join(builtDir, name), () => null)
  const own: GuestArtifacts = {
    kernel: join(dir, KERNEL),
    initramfs: join(dir, INITRAMFS),
    agent: await program(AGENT),
    kernelStub: join(dir, KERNEL_STUB),
    memoryTool: await program(MEMORY_TOOL),
    smallPagesTool: await program(SMALL_PAGES_TOOL),
    tscKhz: await measuredTsc(await program(TSC_TOOL)),
    sentModules: await builtModules(builtDir, dir),
    version,
  }
  try {
    await mkdir(dir, { recursive: true })
    await chmod(ownDir, 0o711)
    await chmod(dir, 0o711)
    await copyOnce(kernel, own.kernel)
    await copyOnce(initramfs, own.initramfs)
    await makeStub(own.kernel, own.kernelStub)
    if (own.sentModules !== null) {
      await mkdir(own.sentModules.dir, { recursive: true })
      for (const name of own.sentModules.order) await copyOnce(join(builtDir, SENT, `${name}.ko`), join(own.sentModules.dir, `${name}.ko`))
    }
    for (const other of await readdir(ownDir)) if (other !== version) await rm(join(ownDir, other), { recursive: true, force: true })
  } catch (error) {
    throw asDiskError(error, "the guest's kernel")
  }
  return own
}

/** The directory on the way to `path` that users other than us can't pass; null if they can. */
export async function closedDirectory(path: string): Promise<string | null> {
  const parts = path.split('/')
  for (let depth = 2; depth <= parts.length; depth += 1) {
    const part = parts.slice(0, depth).join('/')
    if (((await stat(part)).mode & 0o001) === 0) return part
  }
  return null
}

/** null without the tool, or on a machine that it can't run on: guests then measure for themselves. */
async function measuredTsc(tool: string | null): Promise<number | null> {
  if (tool === null) return null
  const khz = Number((await runCommand(tool, []).catch(() => '')).trim())
  return Number.isSafeInteger(khz) && khz > 0 ? khz : null
}

async function builtFile(dir: string, name: string): Promise<string> {
  const path = join(dir, name)
  try {
    await access(path)
    return await realpath(path)
  } catch (error) {
    throw new BerthError('host_unavailable', `The guest's ${name} is not in ${dir}; run ./berth setup, which builds it.`, { cause: error })
  }
}

/** What guest/build.sh keeps beside the initramfs; null of a build from before it did. */
async function builtModules(builtDir: string, ownDir: string): Promise<GuestArtifacts['sentModules']> {
  const text = await readFile(join(builtDir, SENT, 'order'), 'utf8').catch(() => '')
  const order = text.split('\n').filter((name) => MODULE_NAME.test(name))
  return order.length === 0 ? null : { dir: join(ownDir, 'sent'), order }
}

async function copyOnce(from: string, to: string): Promise<void> {
  const there = await access(to).then(() => true, () => false)
  if (there) return
  const beside = `${to}.${process.pid}`
  await copyFile(from, beside)
  await chmod(beside, 0o644)
  await rename(beside, to)
}

/** A VM whose state is loaded never runs the kernel's file: its set-up header is enough, and costs no memory. */
async function makeStub(kernel: string, to: string): Promise<void> {
  if (await access(to).then(() => true, () => false)) return
  const file = await open(kernel, 'r')
  try {
    const { buffer: sectors } = await file.read(Buffer.alloc(1), 0, 1, SETUP_SECTORS_AT)
    const bytes = ((sectors[0] || DEFAULT_SETUP_SECTORS) + 2) * SECTOR_BYTES
    const { buffer } = await file.read(Buffer.alloc(bytes), 0, bytes, 0)
    const beside = `${to}.${process.pid}`
    await writeFile(beside, buffer)
    await chmod(beside, 0o644)
    await rename(beside, to)
  } finally {
    await file.close()
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}
