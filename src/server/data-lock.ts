/**
 * One server per data directory. The lock is one that the kernel holds and drops with the process (SQLite's
 * exclusive file lock), so it can't be stale; beside it a small file says who holds it.
 */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BerthError } from '../instance/errors.ts'

const LOCK_FILE = 'server.lock'
/** Who serves from here: pid, start time in clock ticks since boot, boot id, addresses. */
export const OWNER_FILE = 'server.json'

export interface Owner {
  readonly pid: number
  /** Field 22 of /proc/pid/stat; with the boot id it tells this process from a later one of the same pid. */
  readonly startTicks: string
  readonly bootId: string
  readonly url: string
  /** Where it serves MCP; null if it doesn't. */
  readonly mcpUrl: string | null
}

export interface DataLock {
  /** Says where the server listens, for `berth` commands on the same machine. */
  announce(url: string, mcpUrl?: string | null): void
  release(): void
}

/** Takes the directory, or throws `already_exists` with who has it. */
export function lockDataDir(dataDir: string): DataLock {
  const file = join(dataDir, LOCK_FILE)
  try {
    // Made here, since SQLite would let others read it.
    closeSync(openSync(file, 'a', 0o600))
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new BerthError('invalid_request', `The data directory ${dataDir} can't be used: ${problem}; choose another with --data-dir, or be the user that owns it.`, { cause: error })
  }
  const database = new DatabaseSync(file)
  try {
    database.exec('PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    const isHeld = error instanceof Error && /locked|busy/i.test(error.message)
    if (!isHeld) {
      const problem = error instanceof Error ? error.message : String(error)
      throw new BerthError('internal', `The lock ${file} can't be taken: ${problem}.`, { cause: error })
    }
    throw new BerthError(
      'already_exists',
      `Another Berth server${describeOwner(dataDir)} uses ${dataDir}; stop it, or give this one another --data-dir.`,
    )
  }
  const ownerFile = join(dataDir, OWNER_FILE)
  return {
    announce(url, mcpUrl = null) {
      writeFileSync(ownerFile, `${JSON.stringify({ ...identityOf(process.pid), url, mcpUrl } satisfies Owner)}\n`, { mode: 0o644 })
    },
    release() {
      rmSync(ownerFile, { force: true })
      database.close()
    },
  }
}

/** The server that uses this directory now; null if none does, or it has not announced itself yet. */
export function ownerOf(dataDir: string): Owner | null {
  try {
    const owner = JSON.parse(readFileSync(join(dataDir, OWNER_FILE), 'utf8')) as Owner
    const { startTicks, bootId } = identityOf(owner.pid)
    return owner.startTicks === startTicks && owner.bootId === bootId ? owner : null
  } catch {
    // Nobody is announced, or whoever was has gone.
    return null
  }
}

function identityOf(pid: number): Omit<Owner, 'url' | 'mcpUrl'> {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The command's name may hold spaces and parentheses; what follows its last parenthesis doesn't.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    pid,
    startTicks: fields[19] ?? '',
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
  }
}

function describeOwner(dataDir: string): string {
  try {
    const owner = JSON.parse(readFileSync(join(dataDir, OWNER_FILE), 'utf8')) as Partial<Owner>
    return typeof owner.pid === 'number' && typeof owner.url === 'string' ? ` (pid ${owner.pid}, ${owner.url})` : ''
  } catch {
    // It hasn't announced itself yet; the lock alone says that it is there.
    return ''
  }
}
