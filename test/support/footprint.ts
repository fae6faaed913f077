/**
 * What a server and its VMs have on the machine: processes, interfaces, firewall tables, control groups, mounts,
 * sockets and files. A suite on real VMs asserts that nothing of it is there any more when it has ended.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { hostPaths } from '../../src/host/paths.ts'
import type { TestServer } from './server.ts'

/** Looks for everything that bears the name of this data directory, of its network, or of these instances (UUIDs). */
export function footprint(server: Pick<TestServer, 'dataDir' | 'bridgeName'>, instances: readonly string[]): readonly string[] {
  const { dataDir, bridgeName } = server
  const { run } = hostPaths(dataDir)
  const names = [`${dataDir}/`, `${run}/`, ...(bridgeName === null ? [] : [bridgeName]), ...instances]
  const has = (line: string) => names.some(name => line.includes(name))
  return [
    // Our own command line is not theirs.
    ...lines('ps', '-eo', 'pid=,args=').filter(line => has(line) && Number.parseInt(line, 10) !== process.pid).map(line => `process ${line}`),
    ...lines('ip', '-o', '-d', 'link').filter(has).map(line => `interface ${line}`),
    ...(bridgeName === null ? [] : lines('nft', 'list', 'tables').filter(has).map(line => `table ${line}`)),
    ...lines('find', '/sys/fs/cgroup', '-type', 'd', '-path', '*berth*').filter(has).map(line => `control group ${line}`),
    ...readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(has).map(line => `mount ${line}`),
    ...[dataDir, run].filter(path => existsSync(path)).map(path => `directory ${path}`),
  ]
}

function lines(command: string, ...args: readonly string[]): readonly string[] {
  try {
    return execFileSync(command, args, { encoding: 'utf8', timeout: 20_000, stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
  } catch (error) {
    // `find` says 1 when a control group vanishes while it walks; what it saw counts all the same.
    if (error instanceof Error && 'stdout' in error && typeof error.stdout === 'string') return error.stdout.split('\n')
    throw error
  }
}
