/** Control groups, runtime directories and data directories that no server has. */
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cgroups } from '../cgroup/cgroup.ts'
import { OWNER_FILE } from '../paths.ts'
import { readNetFile } from '../network/tap.ts'
import { isGone, isThere, type Leftover } from './leftover.ts'

/** A group is made just before its VM starts. */
const IDLE_MS = 5_000

/** A group without a process serves nobody: whoever starts its VM again makes it anew. */
export async function groupLeftovers(groups: Cgroups): Promise<readonly Leftover[]> {
  const found: Leftover[] = []
  for (const name of await groups.list()) {
    if ((await groups.processes(name)) > 0) continue
    found.push({
      kind: 'control group',
      name: `berth/${name}`,
      why: 'there is no process in it',
      remove: async () => {
        await sleep(IDLE_MS)
        if ((await groups.processes(name)) > 0) return false
        await groups.remove(name)
        return true
      },
    })
  }
  return found
}

/** Each server has a directory for its sockets, with the name of its data directory in it. */
export async function runtimeLeftovers(runDir: string): Promise<readonly Leftover[]> {
  const found: Leftover[] = []
  for (const name of await readdir(runDir).catch(() => [])) {
    const dir = join(runDir, name)
    const owner = await ownerOf(dir)
    if (owner === null || !(await isGone(owner))) continue
    found.push({
      kind: 'runtime directory',
      name: dir,
      why: `its data directory ${owner} is gone`,
      remove: async () => {
        if ((await ownerOf(dir)) !== owner || !(await isGone(owner))) return false
        await rm(dir, { recursive: true, force: true })
        return true
      },
    })
  }
  return found
}

/** Data directories that are there while no server is: only their owner knows whether they are wanted. */
export async function idleDataDirs(runDir: string, isServed: (dataDir: string) => boolean): Promise<readonly Leftover[]> {
  const known = new Set<string>()
  for (const name of await readdir('/sys/class/net')) {
    const owner = (await readNetFile(name, 'bridge/bridge_id')) === null ? null : await readNetFile(name, 'ifalias')
    if (owner !== null && owner.startsWith('/')) known.add(owner)
  }
  for (const name of await readdir(runDir).catch(() => [])) known.add((await ownerOf(join(runDir, name))) ?? '')
  const found: Leftover[] = []
  for (const dataDir of [...known].toSorted()) {
    if (dataDir === '' || !(await isThere(join(dataDir, 'berth.db'))) || isServed(dataDir)) continue
    const instances = await readdir(join(dataDir, 'instances')).catch(() => [])
    found.push({
      kind: 'data directory',
      name: dataDir,
      why: `no server runs over it (${instances.length} instance${instances.length === 1 ? '' : 's'}); start one with --data-dir, or delete the directory if nobody needs it`,
      remove: null,
    })
  }
  return found
}

async function ownerOf(dir: string): Promise<string | null> {
  const text = await readFile(join(dir, OWNER_FILE), 'utf8').catch(() => '')
  const owner = text.trim()
  return owner.startsWith('/') ? owner : null
}
