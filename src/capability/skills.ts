/**
 * The skill adapter: a catalogue of skills for agents, which is only read. It says which tools a skill is made of and where
 * each is called (an adapter beside this one), and gives the files that lie at the skill's location.
 *
 *   GET /skills · /skills/{name} · /skills/{name}/contents · /skills/{name}/contents/{file} · /skills/{name}/download (a ZIP)
 *
 * No path and no link leads out of a location.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { readdir, realpath } from 'node:fs/promises'
import { basename, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { asFailure, Failure } from './failure.ts'
import { checkOrigin, makeGate, requestUrl } from './guard.ts'
import type { Log } from './log.ts'
import { mediaTypeOf, readWhole } from './mcp-files.ts'
import type { Json, JsonObject, Skill, SkillExpose } from './model.ts'
import type { Runner } from './runner.ts'
import { zipOf } from './zip.ts'

const MAX_FILES = 1000
const MAX_TOTAL_BYTES = 64 * 1024 * 1024

export interface SkillOptions {
  readonly runner: Runner
  readonly expose: SkillExpose
  readonly address: string
  readonly log: Log
}

interface Reply {
  readonly type: string
  readonly bytes: Buffer
}

export function makeSkillServer({ runner, expose, address, log }: SkillOptions): Server {
  const gate = makeGate(expose.authentication, runner.variables.values, runner.upstream)
  const modes = new Map(runner.capability.exposes.flatMap((each) => (each.type === 'rest' || each.type === 'mcp' ? [[each.namespace, each.type]] : [])))
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const began = Date.now()
    response.setHeader('cache-control', 'no-store')
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('content-security-policy', "sandbox; default-src 'none'")
    const { pathname } = URL.canParse(request.url ?? '', 'http://localhost') ? requestUrl(request) : { pathname: '/' }
    try {
      checkOrigin(request, address)
      await gate.check(request)
      const reply = await replyTo(expose, modes, pathname)
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.setHeader('allow', 'GET, HEAD')
        throw new Failure('method_not_allowed', `${request.method ?? ''} can't be done to ${pathname}.`)
      }
      response.writeHead(200, { 'content-type': reply.type, 'content-length': reply.bytes.length })
      response.end(request.method === 'HEAD' ? undefined : reply.bytes)
    } catch (error) {
      const failure = asFailure(error)
      const challenge = failure.code === 'unauthenticated' || failure.code === 'permission_denied' ? gate.challenge(failure) : null
      if (challenge !== null) response.setHeader('www-authenticate', challenge)
      response.writeHead(failure.status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(runner.variables.redactValue(failure.body)))
    }
    log({ event: 'skill', method: request.method ?? '', path: pathname, status: response.statusCode, ms: Date.now() - began })
  }
  return createServer((request, response) => void answer(request, response))
}

async function replyTo({ skills }: SkillExpose, modes: ReadonlyMap<string, string>, pathname: string): Promise<Reply> {
  const [first, name, part, ...rest] = segmentsOf(pathname)
  const nothing = (): Failure => new Failure('not_found', `There is nothing at ${pathname}.`)
  if (first !== 'skills') throw nothing()
  if (name === undefined) return json({ count: skills.length, skills: skills.map(summaryOf) })
  const skill = skills.find((each) => each.name === name)
  if (skill === undefined) throw new Failure('not_found', `There is no skill "${name}".`)
  if (part === undefined) return json(detailsOf(skill, modes))
  if (part === 'contents' && rest.length > 0) return fileOf(skill, rest)
  if (rest.length > 0 || (part !== 'contents' && part !== 'download')) throw nothing()
  const { root, paths } = await filesOf(skill)
  const files: { path: string; bytes: Buffer }[] = []
  let total = 0
  for (const path of paths) {
    const bytes = await readWhole(join(root, path))
    total += bytes.length
    if (total > MAX_TOTAL_BYTES) throw new Failure('too_large', `The files of the skill "${name}" are larger than 64 MiB together.`)
    files.push({ path, bytes })
  }
  if (part === 'download') return { type: 'application/zip', bytes: zipOf(files) }
  return json({ name, files: files.map(({ path, bytes }) => ({ path, size: bytes.length, type: mediaTypeOf(path) })) })
}

function segmentsOf(pathname: string): readonly string[] {
  try {
    return pathname.split('/').filter((each) => each !== '').map(decodeURIComponent)
  } catch {
    throw new Failure('invalid_argument', 'The path is not percent-encoded rightly.')
  }
}

function summaryOf({ name, told, tools }: Skill): JsonObject {
  const { description = null, license } = told
  return { name, description, ...(license === undefined ? {} : { license }), tools: tools.map((each) => each.name) }
}

function detailsOf({ name, told, tools }: Skill, modes: ReadonlyMap<string, string>): JsonObject {
  const shown = tools.map((tool): JsonObject => {
    const { name: toolName, description } = tool
    if (tool.from === null) return { name: toolName, description, type: 'instruction', instruction: tool.instruction ?? '' }
    const { namespace, action } = tool.from
    return { name: toolName, description, type: 'derived', invocationRef: { targetNamespace: namespace, action, mode: modes.get(namespace) ?? 'unknown' } }
  })
  return { name, ...told, tools: shown }
}

function json(value: Json): Reply {
  return { type: 'application/json', bytes: Buffer.from(JSON.stringify(value)) }
}

async function rootOf({ name, location }: Skill): Promise<string> {
  const missing = new Failure('not_found', `The skill "${name}" has no files.`)
  if (location === null) throw missing
  return realpath(fileURLToPath(location)).catch(() => {
    throw missing
  })
}

/** Regular files alone: what a link leads to is none of the skill's. */
async function filesOf(skill: Skill): Promise<{ readonly root: string; readonly paths: readonly string[] }> {
  const root = await rootOf(skill)
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
  const paths = entries.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name).slice(root.length + 1).replaceAll(sep, '/'))
  if (paths.length > MAX_FILES) throw new Failure('too_large', `The skill "${skill.name}" has more than ${MAX_FILES} files.`)
  return { root, paths: paths.toSorted() }
}

async function fileOf(skill: Skill, segments: readonly string[]): Promise<Reply> {
  if (segments.some((each) => each === '.' || each === '..' || /[/\\\0]/.test(each))) throw new Failure('invalid_argument', 'The path of a file has no steps and no slashes within its parts.')
  const root = await rootOf(skill)
  const missing = new Failure('not_found', `The skill "${skill.name}" has no file ${segments.join('/')}.`)
  const file = await realpath(join(root, ...segments)).catch(() => {
    throw missing
  })
  if (!file.startsWith(root + sep)) throw missing
  const bytes = await readWhole(file).catch((error: unknown) => {
    throw error instanceof Failure ? error : missing
  })
  return { type: mediaTypeOf(basename(file)), bytes }
}
