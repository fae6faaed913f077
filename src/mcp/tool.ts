/**
 * What a tool of the MCP server is, and how each call of one is run: arguments are checked by its schema before
 * it sees them, what it throws becomes a result with a code and a sentence, and every call leaves one line in the
 * server's log (who, which tool, which instance, how it ended; never what a command was fed).
 *
 * Invariant: a tool reaches the world only through its context, so that the caller's project and scopes, the
 * client's patience and the server's stop hold for all of them alike.
 */
import type { CallToolResult, McpServer, ServerContext, StandardSchemaWithJSON } from '@modelcontextprotocol/server'
import type { z } from 'zod'
import type { Caller, Engine } from '../engine/api.ts'
import type { Catalogue } from '../instance/catalogue.ts'
import { asBerthError, BerthError, isRetrySane, toldSentence } from '../instance/errors.ts'
import type { Instance, Scope } from '../instance/model.ts'
import { advertised } from './advertised.ts'
import type { Toolset } from './mode.ts'
import { plain } from './text.ts'

/** Key of a failed result's `_meta`, under which the error stands as data. */
export const ERROR_META = 'berth/error'
/** Notices of progress a second, at most. */
const PROGRESS_INTERVAL_MS = 250
const PROGRESS_MESSAGE_LIMIT_CHARACTERS = 200

/** What a client is told about a tool; hints, not controls. */
export interface Hints {
  readonly readOnly: boolean
  readonly destructive: boolean
  readonly idempotent: boolean
  readonly openWorld: boolean
}

export interface ToolContext {
  readonly engine: Engine
  readonly catalogue: Catalogue
  readonly caller: Caller
  /** Aborted when the client cancels or goes away, and when the server stops. */
  readonly signal: AbortSignal
  readonly now: () => number
  /** Tells the client, if it asked for it: `done` grows, `message` is one line. Never more often than is useful. */
  progress(done: number, message: string): void
  /** For the audit log. */
  note(details: AuditNote): void
}

export interface AuditNote {
  readonly instance?: string
  readonly argv?: readonly string[]
  readonly exitCode?: number | null
}

export interface ToolOutput<Output> {
  readonly data: Output
  /** The same for a reader, short. */
  readonly text: string
}

export interface Tool {
  readonly name: string
  readonly toolset: Toolset
  readonly description: string
  /** Its arguments, as clients are told them. */
  readonly inputSchema: () => Readonly<Record<string, unknown>>
  readonly scope: Scope
  readonly hints: Hints
  /** Whether a call may last: its answer is a stream from the start, so that nothing on the way gives up. */
  readonly isLong: boolean
  register(server: McpServer, wiring: ToolWiring): void
}

export interface ToolWiring {
  readonly engine: Engine
  readonly catalogue: Catalogue
  readonly caller: Caller
  readonly stopping: AbortSignal
  readonly now: () => number
  readonly audit: Audit
  /** Counts the calls that run. */
  readonly gate: Gate
}

/** Calls that one project has running at once; more are refused, so that one agent can't hold all others up. */
export const CALLS_LIMIT = 128

/** Counts, by project, what runs. */
export class Gate {
  readonly #running = new Map<string, number>()

  /** Lets one more in, and returns how it leaves. Throws `rate_limited` at the limit. */
  enter(projectId: string): () => void {
    const count = this.#running.get(projectId) ?? 0
    if (count >= CALLS_LIMIT) throw new BerthError('rate_limited', `${CALLS_LIMIT} calls of this project run already: wait for one to end.`)
    this.#running.set(projectId, count + 1)
    return () => {
      const left = (this.#running.get(projectId) ?? 1) - 1
      if (left === 0) this.#running.delete(projectId)
      else this.#running.set(projectId, left)
    }
  }
}

/** One line of the audit log. */
export type Audit = (line: Readonly<Record<string, unknown>>) => void

export interface ToolSpec<Input extends z.ZodType, Output extends z.ZodType> {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly toolset: Toolset
  readonly scope: Scope
  readonly hints: Hints
  readonly isLong?: boolean
  readonly input: Input
  /** Makes the arguments what `input` takes, where clients may spell them in older ways. */
  readonly respell?: (args: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>
  readonly output: Output
  run(args: z.output<Input>, context: ToolContext): Promise<ToolOutput<z.input<Output>>>
}

export function defineTool<Input extends z.ZodType, Output extends z.ZodType>(spec: ToolSpec<Input, Output>): Tool {
  const { name, description, toolset, scope, hints } = spec
  const input = advertised(spec.respell === undefined ? (spec.input as StandardSchemaWithJSON) : respelled(spec.input, spec.respell))
  return {
    name,
    description,
    inputSchema: () => input['~standard'].jsonSchema.input({ target: 'draft-2020-12' }),
    toolset,
    scope,
    hints,
    isLong: spec.isLong ?? false,
    register(server, wiring) {
      const config = {
        title: spec.title,
        description,
        inputSchema: input as StandardSchemaWithJSON<unknown, z.output<Input>>,
        outputSchema: advertised(spec.output as StandardSchemaWithJSON),
        annotations: {
          readOnlyHint: hints.readOnly,
          destructiveHint: hints.destructive,
          idempotentHint: hints.idempotent,
          openWorldHint: hints.openWorld,
        },
      }
      server.registerTool(name, config, (args: z.output<Input>, ctx: ServerContext) => call(spec, args, ctx, wiring))
    },
  }
}

async function call<Input extends z.ZodType, Output extends z.ZodType>(
  spec: ToolSpec<Input, Output>,
  args: z.output<Input>,
  ctx: ServerContext,
  wiring: ToolWiring,
): Promise<CallToolResult> {
  const startedAt = performance.now()
  let noted: AuditNote = {}
  const progress = progressTo(ctx)
  const context: ToolContext = {
    engine: wiring.engine,
    catalogue: wiring.catalogue,
    caller: { ...wiring.caller, operation: spec.name },
    signal: signalOf(ctx, wiring.stopping),
    now: wiring.now,
    progress: progress.tell,
    note: details => (noted = { ...noted, ...details }),
  }
  const finish = (outcome: string) =>
    wiring.audit({
      tool: spec.name,
      key: wiring.caller.keyId,
      project: wiring.caller.projectId,
      ...noted,
      outcome,
      durationMs: Math.round(performance.now() - startedAt),
    })
  let leave: () => void = () => undefined
  try {
    leave = wiring.gate.enter(wiring.caller.projectId)
    const { data, text } = await spec.run(args, context)
    finish('ok')
    await progress.told()
    return { content: [{ type: 'text', text: plain(text) }], structuredContent: data as Record<string, unknown> }
  } catch (error) {
    const failure = asBerthError(error)
    finish(failure.code)
    return errorResult(failure)
  } finally {
    leave()
  }
}

/** A failure that the model can read and act on. */
function errorResult(error: BerthError): CallToolResult {
  const { code, details } = error
  const sentence = plain(toldSentence(error))
  return {
    content: [{ type: 'text', text: `${code}: ${sentence}` }],
    isError: true,
    _meta: { [ERROR_META]: { code, message: sentence, retry: isRetrySane(error), details: code === 'internal' ? {} : details } },
  }
}

/** The client cancels by a message, or by going away; the server stops. Whatever comes first. */
function signalOf(ctx: ServerContext, stopping: AbortSignal): AbortSignal {
  const connection = ctx.http?.req?.signal
  return AbortSignal.any([ctx.mcpReq.signal, stopping, ...(connection === undefined ? [] : [connection])])
}

/** `told` settles when the last notice is on its way: one that comes after the result is lost on the client. */
function progressTo(ctx: ServerContext): { readonly tell: ToolContext['progress']; readonly told: () => Promise<unknown> } {
  const token = ctx.mcpReq._meta?.progressToken
  if (token === undefined) return { tell: () => undefined, told: async () => undefined }
  let lastAt = Number.NEGATIVE_INFINITY
  let last = -1
  let sent: Promise<unknown> = Promise.resolve()
  const tell = (done: number, message: string) => {
    const at = performance.now()
    if (done <= last || at - lastAt < PROGRESS_INTERVAL_MS) return
    last = done
    lastAt = at
    const params = { progressToken: token, progress: done, message: plain(message).slice(0, PROGRESS_MESSAGE_LIMIT_CHARACTERS) }
    // A client that went away is told by the signal.
    sent = ctx.mcpReq.notify({ method: 'notifications/progress', params }).catch(() => undefined)
  }
  return { tell, told: () => sent }
}

/** The schema as clients see it, with the older spellings taken as well. */
function respelled<Input extends z.ZodType>(
  schema: Input,
  respell: (args: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>,
): StandardSchemaWithJSON {
  const standard = (schema as unknown as StandardSchemaWithJSON)['~standard']
  return {
    '~standard': {
      ...standard,
      validate: (value, options) => {
        const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
        return standard.validate(isObject ? respell(value as Record<string, unknown>) : value, options)
      },
    },
  }
}

/** How an instance is called in a sentence: its name and its id. */
export function called(instance: Instance): string {
  return `${instance.spec.name} (${instance.id})`
}

/** Throws `cancelled` if nobody waits any more. */
export function requirePatience(signal: AbortSignal): void {
  if (signal.aborted) throw new BerthError('cancelled', 'The call was cancelled.')
}
