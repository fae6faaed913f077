/** `berth capability`: runs a capability document as REST and MCP in this process, or tells what is wrong with it. */
import type { Command } from 'commander'
import type { ReadDocument } from '../../capability/document.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Context } from '../context.ts'
import { commonOptions } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { parseKeyValues, usage } from '../flags.ts'
import { paint, printJson, printLines, say } from '../output.ts'

/** What an adapter serves, in the words of a person. */
const KINDS = { rest: 'REST', mcp: 'MCP', skill: 'skills' } as const

interface RunOptions {
  readonly restPort?: string
  readonly mcpPort?: string
  readonly baseUri?: string
  readonly bind: readonly string[]
}

export function register(program: Command, context: Context): void {
  const command = program.command('capability').description('run a capability document (Naftiko, Ikanos) as REST and MCP, or check it')
  command
    .command('run')
    .description('serve what the document exposes until Ctrl-C')
    .argument('<file>', 'the document')
    .option('--rest-port <port>', 'listen here for REST instead of the port in the document')
    .option('--mcp-port <port>', 'listen here for MCP instead of the port in the document')
    .option('--base-uri <url>', 'the upstream to call instead of the one in the document')
    .option('--bind <KEY=value>', 'a variable of the document; those of the environment are taken by themselves', collect, [])
    .action((file: string, options: RunOptions) => run(file, options, context))
  command
    .command('lint')
    .description('tell what is wrong with the document, and what is understood otherwise than it says')
    .argument('<file>', 'the document')
    .option('--json', 'print JSON')
    .action((file: string, _: unknown, own: Command) => lint(file, context, commonOptions(own).json === true))
}

async function run(file: string, options: RunOptions, context: Context): Promise<void> {
  const binds = parseKeyValues('--bind', options.bind)
  const restPort = options.restPort === undefined ? null : parseListenPort('--rest-port', options.restPort)
  const mcpPort = options.mcpPort === undefined ? null : parseListenPort('--mcp-port', options.mcpPort)
  const { foldFindings, spellFinding } = await import('../../capability/document.ts')
  const { serveCapability } = await import('../../capability/serve.ts')
  const document = await read(file)
  for (const finding of foldFindings(document.findings)) say(spellFinding(file, finding))
  if (document.capability === null) throw new CliError(`${file} has errors and is not run.`)
  const write = (line: string): void => void process.stderr.write(line)
  const running = await serveCapability(document.capability, {
    directory: document.directory,
    env: context.env,
    binds,
    baseUri: options.baseUri ?? null,
    restPort,
    mcpPort,
    writeLog: write,
  }).catch(refuse)
  for (const warning of running.warnings) say(`warning: ${warning}`)
  for (const { type, namespace, url } of running.listening) say(`${namespace}: ${KINDS[type]} ${url === null ? 'over stdio' : `on ${url}`}`)
  await Promise.race([untilSignal(), running.ended])
  await running.close()
}

async function lint(file: string, context: Context, isJson: boolean): Promise<void> {
  const { foldFindings, spellFinding } = await import('../../capability/document.ts')
  const { findings, capability } = await read(file)
  if (capability === null) context.setStatus(STATUS.failure)
  if (isJson) return printJson(findings)
  await printLines(foldFindings(findings).map((each) => paint(each.severity === 'error' ? 'red' : 'yellow', spellFinding(file, each))))
  const errors = findings.filter((each) => each.severity === 'error').length
  say(`${file}: ${count(errors, 'error')}, ${count(findings.length - errors, 'warning')}; ${capability === null ? 'it is not run' : 'it can be run'}.`)
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`

async function read(file: string): Promise<ReadDocument> {
  const { readDocument } = await import('../../capability/document.ts')
  return readDocument(file).catch(refuse)
}

function refuse(error: unknown): never {
  if (error instanceof BerthError) throw new CliError(error.message, { cause: error })
  throw error
}

function parseListenPort(flag: string, text: string): number {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw usage(`${flag} "${text}" is not a port from 0 to 65535; 0 takes a free one.`)
  return port
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
}
