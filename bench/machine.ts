/** The machine that figures were taken on, and how busy it was: without that they say nothing. */
import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'

export interface MachineFacts {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly qemu: string
  readonly podman: string | null
  readonly node: string
  readonly accelerator: string
  /** Runnable tasks in the last minute, before the first figure: above the number of cores, others were at work. */
  readonly load: number
}

export function readMachine(accelerator: string): MachineFacts {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    qemu: version('qemu-system-x86_64') ?? 'missing',
    podman: version('podman'),
    node: process.version,
    accelerator,
    load: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  }
}

function version(tool: string): string | null {
  try {
    return execFileSync(tool, ['--version'], { encoding: 'utf8', timeout: 10_000 }).split('\n')[0] ?? null
  } catch {
    // It isn't installed.
    return null
  }
}
