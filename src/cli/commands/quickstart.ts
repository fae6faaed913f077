/**
 * `berth quickstart`: from nothing to a running microVM, and what each step took.
 *
 *   server ─▶ template ─▶ launch ─▶ command ─▶ log ─▶ standby ─▶ restore ─▶ the same memory? ─▶ timeline
 *
 * Every step proves itself by what came back from the guest: a word that only this run knows is echoed,
 * then kept in the guest's memory (not on its disk) and read again after the restore. A step that didn't
 * happen ends the command with a status that isn't 0.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Client } from '../client.ts'
import { part } from '../client.ts'
import type { Context } from '../context.ts'
import { capture } from '../exec-capture.ts'
import { CliError } from '../failure.ts'
import { paint, say, visible } from '../output.ts'

const IMAGE = 'localhost/busybox'
const TEMPLATE_POLL_MS = 100
/** How long one step may take on a machine that emulates. */
const STEP_TIMEOUT_MS = 120_000

interface Options {
  readonly once?: boolean
  readonly listen?: string
  readonly dataDir?: string
}

interface Step {
  readonly name: string
  readonly ms: number
  readonly detail: string
}

interface InstanceDetail {
  readonly id: string
  readonly name: string
  readonly phase: string
  readonly reason: string | null
  readonly network: { readonly ip: string | null }
  readonly phaseDurationsMs: Readonly<Record<string, number>>
}

export function register(program: Command, context: Context): void {
  program
    .command('quickstart')
    .description('bring what is missing, start a server, run a real VM, and show what each step took')
    .option('--once', 'end after the timeline instead of serving')
    .option('--listen <address:port>', 'where the API listens (BERTH_LISTEN)')
    .option('--data-dir <dir>', 'where everything is kept (BERTH_DATA_DIR)')
    .action(async (options: Options) => quickstart(options, context))
}

async function quickstart(options: Options, context: Context): Promise<void> {
  const timeline = new Timeline()
  const server = await timeline.step('server started', async () => {
    const started = await serve(options, context)
    return { value: started, detail: `${started.url}, ${started.accelerator}` }
  })
  for (const warning of server.warnings) say(`${paint('yellow', '!', process.stderr)} ${warning}`)
  await timeline.step('template ready', async () => ({ value: null, detail: await untilTemplates(server.client) }))
  let instance: string | null = null
  try {
    instance = await tour(server.client, timeline)
  } catch (error) {
    if (instance !== null) await remove(server.client, instance)
    await server.close()
    throw error
  }
  timeline.print()
  if (options.once === true) {
    await remove(server.client, instance)
    await server.close()
    return
  }
  await announce(server, instance)
  await interrupted()
  say('Stopping the server; the instance runs on and the next start finds it.')
  await server.close()
}

/** The steps of the tour; the instance's name. */
async function tour(client: Client, timeline: Timeline): Promise<string> {
  const word = randomBytes(8).toString('hex')
  const name = `quickstart-${word.slice(0, 6)}`
  await timeline.step('instance launched', async () => {
    const made = await client.call<InstanceDetail>('POST', '/instances', {
      query: { wait: 'running', timeoutMs: STEP_TIMEOUT_MS },
      json: { name, image: IMAGE, pull: 'missing' },
    })
    expectPhase(made, 'running')
    const detail = await client.call<InstanceDetail>('GET', `/instances/${part(name)}`)
    return { value: null, detail: `${name} ${detail.network.ip ?? 'without a network'}; ${spans(detail)}` }
  })
  try {
    await timeline.step('first command', async () => {
      const { stdout } = await run(client, name, ['sh', '-c', `echo ${word} | tee /dev/shm/word; uname -sr`])
      if (stdout.split('\n')[0] !== word) throw new CliError(`The guest was told to echo ${word} and answered ${JSON.stringify(stdout)}.`)
      return { value: null, detail: stdout.split('\n')[1] ?? '' }
    })
    await timeline.step('log streamed', async () => {
      const abort = new AbortController()
      const timer = setTimeout(() => abort.abort(), STEP_TIMEOUT_MS)
      try {
        for await (const record of client.records<{ text: string }>(`/instances/${part(name)}/logs`, { query: { follow: true }, signal: abort.signal })) {
          return { value: null, detail: JSON.stringify(visible(record.text)) }
        }
      } finally {
        clearTimeout(timer)
        abort.abort()
      }
      throw new CliError('The instance runs and has logged nothing; see "berth logs --source vmm".')
    })
    await timeline.step('put in standby', async () => {
      expectPhase(await act(client, name, 'standby'), 'standby')
      return { value: null, detail: 'memory and devices saved' }
    })
    await timeline.step('restored', async () => {
      expectPhase(await act(client, name, 'restore'), 'running')
      return { value: null, detail: 'the same processes go on' }
    })
    await timeline.step('command after restore', async () => {
      const { stdout } = await run(client, name, ['cat', '/dev/shm/word'])
      if (stdout.trim() !== word) throw new CliError('The instance was restored, but its memory is not what it was.')
      return { value: null, detail: 'its memory is what it was' }
    })
    return name
  } catch (error) {
    await remove(client, name)
    throw error
  }
}

interface Server {
  readonly url: string
  readonly key: string | null
  readonly accelerator: string
  readonly warnings: readonly string[]
  readonly client: Client
  readonly close: () => Promise<void>
}

/** A server in this process; refused with the address of the one that already has the data directory. */
async function serve(options: Options, context: Context): Promise<Server> {
  const [{ readConfig }, { runServer }, { Client }, { makeLog }] = await Promise.all([
    import('../../server/config.ts'),
    import('../../server/server.ts'),
    import('../client.ts'),
    import('../../server/logging.ts'),
  ])
  const env = { BERTH_LOG_LEVEL: 'warn', ...context.env }
  const config = readConfig(env, {
    ...(options.listen === undefined ? {} : { listen: options.listen }),
    ...(options.dataDir === undefined ? {} : { dataDir: options.dataDir }),
  })
  const running = await runServer(config, makeLog(config.logLevel)).catch((error: unknown) => {
    throw new CliError(error instanceof Error ? error.message : String(error), { cause: error })
  })
  return {
    url: running.url,
    key: running.adminKey.secret,
    accelerator: running.facts.accelerator === 'kvm' ? 'KVM' : `emulated CPU (${running.facts.acceleratorReason})`,
    warnings: running.warnings,
    client: new Client({ server: new URL(running.url), key: running.adminKey.secret }),
    close: () => running.close(),
  }
}

/** A launch doesn't need a template, but what a person sees first should be what they get from then on. */
async function untilTemplates(client: Client): Promise<string> {
  const deadline = Date.now() + STEP_TIMEOUT_MS
  for (;;) {
    const { templates } = await client.call<{ templates: readonly { vcpus: number; memoryBytes: number; state: string; ofImage: boolean }[] }>('GET', '/host')
    if (templates.length === 0) return 'none here: instances boot from nothing'
    if (templates.every(({ state }) => state === 'ready')) {
      return templates.map(({ vcpus, memoryBytes, ofImage }) => `${vcpus} vCPU, ${Math.round(memoryBytes / 1024 ** 2)} MB${ofImage ? ' with its image' : ''}`).join('; ')
    }
    if (Date.now() > deadline) return 'not yet: the first launch boots from nothing'
    await sleep(TEMPLATE_POLL_MS)
  }
}

async function act(client: Client, name: string, operation: 'standby' | 'restore'): Promise<InstanceDetail> {
  return client.call('POST', `/instances/${part(name)}/${operation}`, { query: { wait: true, timeoutMs: STEP_TIMEOUT_MS } })
}

async function run(client: Client, name: string, command: readonly string[]): Promise<{ stdout: string }> {
  const { code, stdout, stderr } = await capture(client, name, command)
  if (code !== 0) throw new CliError(`In the guest ${command.join(' ')} ended with ${code}: ${visible(stderr.trim())}`)
  return { stdout }
}

async function remove(client: Client, name: string): Promise<void> {
  await client.call('DELETE', `/instances/${part(name)}`, { query: { wait: true, timeoutMs: STEP_TIMEOUT_MS } }).catch((error: unknown) => {
    say(`The instance ${name} could not be removed: ${error instanceof Error ? error.message : String(error)}`)
  })
}

function expectPhase(instance: InstanceDetail, phase: string): void {
  if (instance.phase === phase) return
  const why = instance.reason === null ? '' : `: ${instance.reason}`
  throw new CliError(`The instance should be ${phase} and is ${instance.phase}${why}; see "berth logs --source vmm".`)
}

/** `preparing 41 · starting 1260`, of what took a millisecond or more. */
function spans(detail: InstanceDetail): string {
  return Object.entries(detail.phaseDurationsMs)
    .filter(([phase, ms]) => phase !== 'running' && ms >= 1)
    .map(([phase, ms]) => `${phase} ${Math.round(ms)}`)
    .join(' · ')
}

async function announce(server: Server, instance: string): Promise<void> {
  const bold = (text: string) => paint('bold', text, process.stderr)
  const page = await fetch(new URL('/', server.url), { headers: { accept: 'text/html' } }).catch(() => null)
  const isDashboard = page?.ok === true && (page.headers.get('content-type') ?? '').includes('text/html')
  say('')
  say(`${isDashboard ? 'Dashboard' : 'API      '} ${bold(server.url)}`)
  say(`Key       ${bold(server.key ?? 'the one you gave')}`)
  say(`Try       ${bold(`./berth exec -it ${instance} -- sh`)}`)
  say('')
  say('Serving until Ctrl-C.')
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
}

/** The steps as they are done, and their table at the end. */
class Timeline {
  readonly #steps: Step[] = []

  async step<T>(name: string, work: () => Promise<{ readonly value: T; readonly detail: string }>): Promise<T> {
    const begun = performance.now()
    const { value, detail } = await work()
    const ms = performance.now() - begun
    this.#steps.push({ name, ms, detail })
    say(`${paint('green', '✓', process.stderr)} ${name} ${paint('dim', detail, process.stderr)}`)
    return value
  }

  print(): void {
    const width = Math.max(...this.#steps.map((step) => step.name.length))
    const rows = this.#steps.map((step) => `${step.name.padEnd(width)}  ${step.ms.toFixed(0).padStart(6)} ms`)
    process.stdout.write(`\n${rows.join('\n')}\n`)
  }
}
