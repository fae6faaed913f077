/**
 * Makes the ext4 of a file system larger while nobody serves it, so that it is either grown or as it was.
 *
 *   growing.json (the size before) ─▶ e2fsck ─▶ the file is longer ─▶ resize2fs, which keeps what it overwrites ─▶ both are removed
 *
 * Where that is cut off, `undoGrowth` puts back what was there. Tools hold a lock of the file: one that outlived its
 * server is waited for.
 */
import { open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'
import { asDiskError, CommandFailed, runCommand } from '../command.ts'
import { readJson, writeJson } from '../qemu/atomic-file.ts'
import { fileExists } from '../volumes/ext4.ts'

const MARK = 'growing.json'
const UNDO = 'growing.e2undo'
/** Checking reads all that describes the files. */
const TOOL_TIMEOUT_MS = 10 * 60_000
/** The kernel unmounts a moment after the last process of a namespace. */
const LOOP_TIMEOUT_MS = 15_000
const LOOK_EVERY_MS = 20
/** e2fsck mended something. */
const MENDED = 1

/** One that is as large already stays as it is. */
export async function growExt4(dir: string, file: string, sizeBytes: number): Promise<void> {
  const before = (await stat(file)).size
  if (before >= sizeBytes) return
  await untilUnmounted(file)
  await writeJson(join(dir, MARK), before)
  try {
    await locked(file, ['e2fsck', '-f', '-p', file]).catch((error: unknown) => {
      if (!(error instanceof CommandFailed && error.status === MENDED)) throw error
    })
    await truncate(file, sizeBytes)
    await locked(file, ['resize2fs', '-z', join(dir, UNDO), file])
    await settle(file)
  } catch (error) {
    await undoGrowth(dir, file)
    throw asDiskError(error, 'a larger file system')
  }
  await forget(dir)
}

/** Puts back what was there, if a growth was cut off. */
export async function undoGrowth(dir: string, file: string): Promise<void> {
  const before = await readJson(join(dir, MARK))
  if (typeof before !== 'number') return
  if (await fileExists(join(dir, UNDO))) await locked(file, ['e2undo', join(dir, UNDO), file])
  await truncate(file, before)
  await settle(file)
  await forget(dir)
}

async function locked(file: string, command: readonly string[]): Promise<void> {
  await runCommand('flock', [file, ...command], { timeoutMs: TOOL_TIMEOUT_MS })
}

/** The mark last: without it nothing is undone. */
async function forget(dir: string): Promise<void> {
  await rm(join(dir, MARK), { force: true })
  await rm(join(dir, UNDO), { force: true })
}

async function settle(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function untilUnmounted(file: string): Promise<void> {
  const deadline = performance.now() + LOOP_TIMEOUT_MS
  while (await isInLoop(file)) {
    if (performance.now() > deadline) throw new BerthError('timeout', 'The file system is still mounted by its last server; try again in a moment.')
    await sleep(LOOK_EVERY_MS)
  }
}

async function isInLoop(file: string): Promise<boolean> {
  const devices = (await readdir('/sys/block')).filter((name) => name.startsWith('loop'))
  const files = await Promise.all(devices.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')))
  return files.some((text) => text.trim() === file)
}
