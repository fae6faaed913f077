/**
 * `berth cp`: files and trees into and out of an instance, with docker's rules for where they land.
 *
 *   source is a file       destination is not there   it becomes that file (not if it ends with /)
 *                          … is a file                it is replaced
 *                          … is a directory           it lands in it under its own name
 *   source is a directory  destination is not there   it becomes that directory
 *                          … is a file                refused
 *                          … is a directory           it lands in it under its own name; with SRC/. what it holds does
 */
import { lstat, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Readable } from 'node:stream'
import type { Command } from 'commander'
import type { IncomingMessage } from 'node:http'
import type { PathBody } from '../../dialects/native/schema/guest.ts'
import { part } from '../client.ts'
import type { Client } from '../client.ts'
import { withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { usage } from '../flags.ts'
import { say } from '../output.ts'

const COPY_ERRORS_TRAILER = 'berth-copy-errors'

interface CpOptions {
  readonly archive?: boolean
  readonly followLink?: boolean
  readonly quiet?: boolean
}

type Place = { readonly kind: 'guest'; readonly instance: string; readonly path: string } | { readonly kind: 'local'; readonly path: string } | { readonly kind: 'pipe' }

export function register(program: Command, context: Context): void {
  withServer(program.command('cp <source> <destination>').description('copy files: INSTANCE:PATH is in an instance, - is a tar on stdin or stdout'))
    .option('-a, --archive', 'keep owners')
    .option('-L, --follow-link', 'copy what the source leads to, if it is a symbolic link')
    .option('-q, --quiet', 'do not say what was copied')
    .addHelpText('after', '\nSRC/. copies what the directory SRC holds, not SRC itself. A local name with a colon is written ./a:b.')
    .action(async (source: string, destination: string, options: CpOptions, command: Command) => {
      const client = context.connect(command)
      const from = placeOf(source)
      const to = placeOf(destination)
      if (from.kind === 'guest' && to.kind !== 'guest') return copyOut(client, from, to, options, context)
      if (to.kind === 'guest' && from.kind !== 'guest') return copyIn(client, from, to, options, context)
      throw usage('One of source and destination must be in an instance, as INSTANCE:PATH, and the other here.')
    })
}

function placeOf(text: string): Place {
  if (text === '-') return { kind: 'pipe' }
  const [, instance, path] = /^([A-Za-z0-9][A-Za-z0-9_-]*):(.*)$/s.exec(text) ?? []
  if (instance === undefined || path === undefined) return { kind: 'local', path: text }
  // As docker takes it: a path in an instance begins at its root.
  return { kind: 'guest', instance, path: path.startsWith('/') ? path : `/${path}` }
}

// ---- into an instance ------------------------------------------------------------------------------

type Guest = Extract<Place, { kind: 'guest' }>
type Here = Exclude<Place, { kind: 'guest' }>

async function copyIn(client: Client, from: Here, to: Guest, options: CpOptions, context: Context): Promise<void> {
  const target = await statGuest(client, to.instance, to.path, true)
  if (from.kind === 'pipe') {
    if (target.exists && target.kind !== 'directory') throw new CliError(`${to.instance}:${to.path} is no directory, so no tar can be unpacked in it.`)
    await upload(client, to, to.path, process.stdin, options)
    return
  }
  const info = await (options.followLink === true || from.path.endsWith('/') ? stat(from.path) : lstat(from.path)).catch((error: unknown) => {
    throw new CliError(`${from.path} can't be read: ${reasonOf(error)}.`, { cause: error })
  })
  const landing = landingOf(from.path, info.isDirectory(), to.path, target)
  if (landing.kind === 'refused') throw new CliError(`${landing.why}`)
  const { readTree } = await import('../local-tree.ts')
  const inside = landing.kind === 'contents'
  const directory = inside ? landing.path : dirname(landing.path)
  const parent = inside ? target : await statGuest(client, to.instance, directory, true)
  if (!parent.exists) throw new CliError(`There is no directory ${directory} in ${to.instance}: make it first.`)
  const tar = readTree(from.path, inside ? '' : basename(landing.path), {
    followLink: options.followLink === true || from.path.endsWith('/'),
    onSkip: (path, why) => {
      say(`berth: ${path} was left out: ${why}.`)
      context.setStatus(STATUS.failure)
    },
  })
  const bytes = await upload(client, to, directory, tar, options)
  if (options.quiet !== true && process.stderr.isTTY) say(`Copied ${bytes} bytes to ${to.instance}:${landing.path}`)
}

async function upload(client: Client, to: Guest, directory: string, stream: Readable, options: CpOptions): Promise<number> {
  const { bytesWritten } = await client.call<{ bytesWritten: number }>('PUT', `/instances/${part(to.instance)}/files`, {
    query: { path: directory, keepOwner: options.archive === true },
    bytes: { stream, type: 'application/x-tar' },
  })
  return bytesWritten
}

// ---- out of an instance ----------------------------------------------------------------------------

async function copyOut(client: Client, from: Guest, to: Here, options: CpOptions, context: Context): Promise<void> {
  const followLinks = options.followLink === true || from.path.endsWith('/')
  const source = await statGuest(client, from.instance, from.path, followLinks)
  if (!source.exists) throw new CliError(`There is no ${from.path} in ${from.instance}.`)
  const path = to.kind === 'pipe' ? null : await landingHere(from.path, source.kind === 'directory', to.path)
  const answer = await client.open('GET', `/instances/${part(from.instance)}/files`, {
    query: { path: from.path, followLinks },
    headers: { accept: 'application/x-tar' },
  })
  if (path === null) {
    await pipeline(answer, process.stdout, { end: false })
  } else {
    const { writeTree } = await import('../local-tree.ts')
    await writeTree(answer, path, { keepOwner: options.archive === true })
    if (options.quiet !== true && process.stderr.isTTY) say(`Copied ${from.instance}:${from.path} to ${path}`)
  }
  tellErrors(answer, context)
}

/** Where a path of an instance lands on this machine. */
async function landingHere(source: string, isDirectory: boolean, destination: string): Promise<string> {
  const target = await stat(destination).catch(() => null)
  const kind = target === null ? null : target.isDirectory() ? 'directory' : 'file'
  const landing = landingOf(source, isDirectory, destination, { exists: target !== null, kind })
  if (landing.kind === 'refused') throw new CliError(landing.why)
  const parent = await stat(dirname(landing.path)).catch(() => null)
  if (parent?.isDirectory() !== true) throw new CliError(`There is no directory ${dirname(landing.path)}: make it first.`)
  return landing.path
}

/** What could not be read comes after the last byte. */
function tellErrors(answer: IncomingMessage, context: Context): void {
  const trailer = answer.trailers[COPY_ERRORS_TRAILER]
  if (trailer === undefined) return
  const { errors, untold } = JSON.parse(decodeURIComponent(trailer)) as { errors: { path: string; message: string }[]; untold: number }
  for (const { path, message } of errors) say(`berth: ${path} was left out: ${message}`)
  if (untold > 0) say(`berth: ${untold} more were left out.`)
  if (errors.length > 0) context.setStatus(STATUS.failure)
}

// ---- docker's rules --------------------------------------------------------------------------------

export type Landing =
  /** The source becomes this path. */
  | { readonly kind: 'becomes'; readonly path: string }
  /** What the source directory holds lands in this directory, which is there. */
  | { readonly kind: 'contents'; readonly path: string }
  | { readonly kind: 'refused'; readonly why: string; readonly path: string }

/** Where a source lands, by docker's table. */
export function landingOf(
  source: string,
  isDirectory: boolean,
  destination: string,
  target: { readonly exists: boolean; readonly kind: string | null },
): Landing {
  const path = destination === '/' ? '/' : destination.replace(/\/+$/, '')
  if (!target.exists) {
    if (!isDirectory && destination.endsWith('/')) return { kind: 'refused', path, why: `There is no directory ${destination}: make it first.` }
    return { kind: 'becomes', path }
  }
  if (target.kind === 'directory') {
    const meansContents = /(^|\/)\.\/?$/.test(source)
    const name = basename(source.replace(/\/+$/, ''))
    if (isDirectory && (meansContents || name === '' || name === '..')) return { kind: 'contents', path }
    return { kind: 'becomes', path: join(path, name) }
  }
  if (isDirectory) return { kind: 'refused', path, why: `${path} is a file, and a directory can't be copied onto it.` }
  if (destination.endsWith('/')) return { kind: 'refused', path, why: `${destination} is no directory.` }
  return { kind: 'becomes', path }
}

async function statGuest(client: Client, instance: string, path: string, followLinks: boolean): Promise<PathBody> {
  return client.call<PathBody>('GET', `/instances/${part(instance)}/stat`, { query: { path, followLinks } })
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
