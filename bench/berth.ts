/** What the figures of Berth itself stand on: a server, and its API as a user would use it. */
import { exec } from '../test/support/exec-socket.ts'
import { eventually, startServer, type TestServer } from '../test/support/server.ts'
import { timed } from './figure.ts'
import { packedServer } from './program.ts'

export const IMAGE = 'localhost/busybox'
const SLEEP = ['sleep', '1000000']
/** A busy machine takes long to boot a template, or to fill a pool. */
const PATIENCE_MS = 180_000

/** A server with the built-in image, and room for more VMs than the machine has memory for; without a pool unless asked for. */
export async function openBench(env: Readonly<Record<string, string>> = {}): Promise<TestServer> {
  const server = await startServer({ host: 'qemu', main: await packedServer(), env: { BERTH_OVERCOMMIT_CPU: '100', BERTH_OVERCOMMIT_MEMORY: '4', BERTH_POOL: 'no', ...env } })
  try {
    await eventually('the image', async () => {
      const { body } = await server.request('POST', '/images', { body: { name: IMAGE } })
      return (body as { status: string }).status === 'ready' ? true : null
    })
    return server
  } catch (error) {
    await server.stop()
    throw error
  }
}

interface ServedTemplate {
  readonly memoryBytes: number
  readonly state: string
  readonly ofImage: boolean
  readonly waiting: number
}

async function templatesOf(server: TestServer): Promise<readonly ServedTemplate[]> {
  const { body } = await server.request('GET', '/berth/v1/host')
  return (body as { readonly templates: readonly ServedTemplate[] }).templates
}

/** Until instances of a size are clones, and no other template is being made. */
export async function untilTemplate(server: TestServer, megabytes = 512): Promise<void> {
  await untilTemplates(server, `a template of ${megabytes} MB`, ({ memoryBytes, ofImage }) => memoryBytes === megabytes * 1024 ** 2 && !ofImage)
}

/** The same of the image that was launched. */
export async function untilImageTemplate(server: TestServer, megabytes = 512): Promise<void> {
  await untilTemplates(server, `a template of the image with ${megabytes} MB`, ({ memoryBytes, ofImage }) => memoryBytes === megabytes * 1024 ** 2 && ofImage)
}

async function untilTemplates(server: TestServer, what: string, isIt: (template: ServedTemplate) => boolean): Promise<void> {
  const find = async (): Promise<true | null> => {
    const templates = await templatesOf(server)
    return templates.some(isIt) && templates.every(({ state }) => state === 'ready') ? true : null
  }
  await eventually(what, find, PATIENCE_MS)
}

/** Until two VMs wait in the pool that a launch of 512 MB can have, one of them of its image if `warm`. */
export async function untilWaiting(server: TestServer, warm: boolean): Promise<void> {
  const ofSize = ({ memoryBytes }: ServedTemplate) => memoryBytes === 512 * 1024 ** 2
  await eventually('VMs in the pool', async () => {
    const waiting = (await templatesOf(server)).filter(ofSize).flatMap(({ ofImage, waiting: count }) => Array.from({ length: count }, () => ofImage))
    return waiting.length >= 2 && (!warm || waiting.includes(true)) ? true : null
  }, PATIENCE_MS)
}

/** Launches one of a size, and waits until the next will be a clone. */
export async function firstOf(server: TestServer, megabytes: number): Promise<void> {
  await create(server, { name: 'first', size: `${megabytes}MB` })
  await remove(server, 'first')
  await untilTemplate(server, megabytes)
}

export async function create(server: TestServer, more: Readonly<Record<string, unknown>>): Promise<void> {
  await must(server, 'POST', '/instances', { image: IMAGE, size: '512MB', overlay_size: '1GB', vcpus: 1, cmd: SLEEP, ...more })
}

export async function remove(server: TestServer, name: string): Promise<void> {
  await must(server, 'DELETE', `/instances/${name}`)
}

export async function must(server: TestServer, method: string, path: string, body?: object): Promise<void> {
  const { status, text } = await server.request(method, path, body === undefined ? {} : { body })
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`)
}

export async function says(server: TestServer, name: string, command: readonly string[], wanted: string): Promise<void> {
  const { output, exitCode } = await exec(server.url, server.key, name, { command })
  if (exitCode !== 0 || output.trim() !== wanted) throw new Error(`${command.join(' ')} in ${name}: ${exitCode} ${output}`)
}

/** From the request that creates an instance to the end of its first command, which is removed again. */
export async function launchOnce(server: TestServer, name: string): Promise<number> {
  const ms = await timed(async () => {
    await create(server, { name })
    await says(server, name, ['echo', 'up'], 'up')
  })
  await remove(server, name)
  return ms
}

/** Runs work on a server of its own, which is gone afterwards whatever happened. */
export async function onServer<T>(env: Readonly<Record<string, string>>, work: (server: TestServer) => Promise<T>): Promise<T> {
  const server = await openBench(env)
  try {
    return await work(server)
  } finally {
    await server.stop()
  }
}
