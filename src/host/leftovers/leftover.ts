/**
 * What a Berth left on the machine that is gone: killed, or its data directory deleted under it.
 *
 *   found ─▶ whose is it? ─▶ an owner that is there, or something in use: not listed
 *                        ├─▶ surely of nobody any more: `remove` is offered
 *                        └─▶ can't be told: listed for a person to judge, never removed
 *
 * Invariant: what is removed belongs to a data directory that no process of the machine can see any more, or is idle and
 * of no use to anyone (a tap whose bridge is gone, a group without processes). A directory is never removed.
 */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isMissing } from '../qemu/atomic-file.ts'

const INIT = 1

export type LeftoverKind = 'VM' | 'file server' | 'bridge' | 'tap' | 'nftables table' | 'control group' | 'runtime directory' | 'data directory'

export interface Leftover {
  readonly kind: LeftoverKind
  /** As the machine knows it: an interface's name, a process id, a path. */
  readonly name: string
  /** What shows whose it was, or why that can't be told. */
  readonly why: string
  /** Looks again, and removes it if nothing has changed; false if it has. null where a person has to judge. */
  readonly remove: (() => Promise<boolean>) | null
}

/** Numbers of the processes that run now. */
export async function processIds(): Promise<readonly number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
}

/** Whether no process of this machine sees the directory, from whatever root it looks. */
export async function isGone(dataDir: string): Promise<boolean> {
  if (await isThere(dataDir)) return false
  for (const pid of await processIds()) {
    // The first process sees what we see, and may be closed even to root.
    if (pid !== INIT && (await isThere(join(`/proc/${pid}/root`, dataDir)))) return false
  }
  return true
}

/** Also true where it can't be told: what may be there is not gone. */
export async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    (error: unknown) => !isMissing(error) && !(error instanceof Error && 'code' in error && error.code === 'ESRCH'),
  )
}
