/**
 * The thread that scripts run in, one at a time. Each gets a QuickJS of its own, compiled to WebAssembly: a language
 * without files, network, clocks to wait on or any way to the machine. Time, statements, memory and stack are limited.
 */
import { parentPort } from 'node:worker_threads'
import { newQuickJSWASMModuleFromVariant } from 'quickjs-emscripten-core'
import type { QuickJSContext, QuickJSRuntime } from 'quickjs-emscripten-core'
import { MAX_RESULT_CHARACTERS, MEMORY_MIB } from './job.ts'
import type { ScriptJob, ScriptOutcome } from './job.ts'

const MAX_MEMORY_BYTES = MEMORY_MIB.javascript * 1024 * 1024
const MAX_STACK_BYTES = 256 * 1024
/** QuickJS asks whether to go on after about so many steps: loops taken and functions called. */
const STEPS_PER_POLL = 10_000

const port = parentPort
if (port === null) throw new Error('scripts run in a thread')
const quickJs = await newQuickJSWASMModuleFromVariant(import('@jitl/quickjs-wasmfile-release-sync'))
port.on('message', (job: ScriptJob) => port.postMessage(run(job)))

function run(job: ScriptJob): ScriptOutcome {
  const runtime = quickJs.newRuntime({ memoryLimitBytes: MAX_MEMORY_BYTES, maxStackSizeBytes: MAX_STACK_BYTES })
  const stopped = limit(runtime, job)
  const context = runtime.newContext()
  try {
    return evaluate(context, runtime, job, stopped)
  } finally {
    context.dispose()
    runtime.dispose()
  }
}

/** Tells afterwards which limit ended a script, if one did. */
function limit(runtime: QuickJSRuntime, { timeoutMs, statementLimit }: ScriptJob): () => 'time' | 'statements' | null {
  const deadline = Date.now() + timeoutMs
  let polls = 0
  let why: 'time' | 'statements' | null = null
  runtime.setInterruptHandler(() => {
    polls += 1
    if (Date.now() >= deadline) why = 'time'
    else if ((polls - 1) * STEPS_PER_POLL >= statementLimit) why = 'statements'
    return why !== null
  })
  return () => why
}

function evaluate(context: QuickJSContext, runtime: QuickJSRuntime, { sources, bindings }: ScriptJob, stopped: () => 'time' | 'statements' | null): ScriptOutcome {
  for (const { name, text } of [{ name: 'bindings', text: prelude(bindings) }, ...sources]) {
    const failure = attempt(context, name, text, stopped)
    if (failure !== null) return failure
  }
  const jobs = runtime.executePendingJobs()
  if (jobs.error !== undefined) {
    const told: unknown = context.dump(jobs.error)
    jobs.error.dispose()
    return refusal(told, stopped)
  }
  const given = context.evalCode(RESULT, 'result', { type: 'global' })
  if (given.error !== undefined) {
    const told: unknown = context.dump(given.error)
    given.error.dispose()
    return refusal(told, stopped)
  }
  const text = context.getString(given.value)
  given.value.dispose()
  if (text.length > MAX_RESULT_CHARACTERS) return { kind: 'failed', reason: 'size', message: '' }
  return { kind: 'done', json: text }
}

function attempt(context: QuickJSContext, name: string, text: string, stopped: () => 'time' | 'statements' | null): ScriptOutcome | null {
  const outcome = context.evalCode(text, name, { type: 'global' })
  if (outcome.error === undefined) {
    outcome.value.dispose()
    return null
  }
  const told: unknown = context.dump(outcome.error)
  outcome.error.dispose()
  return refusal(told, stopped)
}

function refusal(told: unknown, stopped: () => 'time' | 'statements' | null): ScriptOutcome {
  const reason = stopped()
  if (reason !== null) return { kind: 'failed', reason, message: '' }
  const error = typeof told === 'object' && told !== null ? (told as Readonly<Record<string, unknown>>) : { message: String(told) }
  const message = typeof error['message'] === 'string' ? error['message'] : 'it threw no error'
  if (message === 'out of memory') return { kind: 'failed', reason: 'memory', message: '' }
  const line = /:(\d+)(?::\d+)?\)?\s*$/m.exec(typeof error['stack'] === 'string' ? error['stack'] : '')?.[1]
  return { kind: 'failed', reason: 'threw', message: `${message}${line === undefined ? '' : ` (line ${line})`}` }
}

/** What a script finds: `context`, and each of its entries by a name of its own, unless the language has that name. */
function prelude(bindings: string): string {
  return `(() => {
  const given = JSON.parse(${JSON.stringify(bindings)})
  globalThis.context = given.context
  for (const [name, value] of Object.entries(given.names)) if (!(name in globalThis)) globalThis[name] = value
})()`
}

const RESULT = `(() => {
  const text = JSON.stringify(typeof result === 'undefined' ? null : result)
  return typeof text === 'string' ? text : 'null'
})()`
