/** Everything that Berths which are gone left on this machine. The front door of this room. */
import { openCgroups } from '../cgroup/cgroup.ts'
import { defaultRunDir } from '../paths.ts'
import { interfaceLeftovers } from './interfaces.ts'
import type { Leftover } from './leftover.ts'
import { groupLeftovers, idleDataDirs, runtimeLeftovers } from './places.ts'
import { processLeftovers } from './processes.ts'

export type { Leftover } from './leftover.ts'

export interface LeftoverOptions {
  readonly runDir?: string
  /** Whether a server has that data directory now, or it is the one that is looked after anyway. */
  readonly isServed: (dataDir: string) => boolean
}

/** Processes first: what they hold can only go after them. Other users' things can't be seen without root. */
export async function findLeftovers({ runDir = defaultRunDir(), isServed }: LeftoverOptions): Promise<readonly Leftover[]> {
  return [
    ...(await processLeftovers()),
    ...(await interfaceLeftovers()),
    ...(await groupLeftovers(await openCgroups())),
    ...(await runtimeLeftovers(runDir)),
    ...(await idleDataDirs(runDir, isServed)),
  ]
}
