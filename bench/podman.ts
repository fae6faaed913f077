/** The same work with podman, which a user would pick instead: one image of the same busybox, its default network. */
import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { figureOf, timed, type Figure } from './figure.ts'

const run = promisify(execFile)
const IMAGE = 'localhost/berth-bench-busybox'
const NAME = `berth-bench-${process.pid}`
/** Where control groups or limits are restricted, podman needs these. */
const RUN = ['--runtime', 'runc', 'run', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024']
const TIMEOUT_MS = 120_000

/** None where podman is missing or can't run a container here; `say` is told why. */
export async function podmanFigures(samples: number, say: (text: string) => void): Promise<Readonly<Record<string, Figure>>> {
  try {
    await makeImage()
    const starts: number[] = []
    for (let round = 0; round < samples; round += 1) starts.push(await timed(() => podman([...RUN, '--rm', IMAGE, 'echo', 'up'])))
    await podman([...RUN, '-d', '--name', NAME, IMAGE, 'sleep', '1000000'])
    const execs: number[] = []
    for (let round = 0; round < samples; round += 1) execs.push(await timed(() => podman(['--runtime', 'runc', 'exec', NAME, 'true'])))
    return { podman_run: figureOf('ms', starts), podman_exec: figureOf('ms', execs) }
  } catch (error) {
    say(`podman: skipped (${error instanceof Error ? error.message.split('\n').slice(0, 2).join(' ') : String(error)})`)
    return {}
  } finally {
    await podman(['rm', '-f', NAME]).catch(() => undefined)
    await podman(['rmi', '-f', IMAGE]).catch(() => undefined)
  }
}

async function makeImage(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-bench-'))
  try {
    await copyFile('/bin/busybox', join(dir, 'busybox'))
    await chmod(join(dir, 'busybox'), 0o755)
    await writeFile(join(dir, 'Containerfile'), 'FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/echo\nCOPY busybox /bin/true\nCOPY busybox /bin/sleep\n')
    await podman(['build', '--runtime', 'runc', '-q', '-t', IMAGE, dir])
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function podman(args: readonly string[]): Promise<void> {
  await run('podman', args, { timeout: TIMEOUT_MS })
}
