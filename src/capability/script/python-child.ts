/**
 * The process that one Python script runs in, and nothing else before or after it: CPython compiled to WebAssembly.
 *
 *   started ─▶ Python loads ─▶ what leads to the machine goes ─▶ "ready" ─▶ a job ─▶ its outcome ─▶ killed by its owner
 *
 * What keeps a script in are three walls. Node's permission model: no file but Python's own is readable, none is
 * writable, no process, thread or addon starts. V8 makes no code of texts, so that Python's way into JavaScript has
 * nothing to run there; and of JavaScript the script is given an empty object, no module can be loaded any more, and what
 * speaks to networks is gone. The process has no environment and no open file but its channel, and what it may have of
 * memory beside Python's own the kernel limits (python-pool.ts).
 */
import { constants } from 'node:fs'
import { registerHooks } from 'node:module'
import { MAX_RESULT_CHARACTERS, MEMORY_MIB } from './job.ts'
import type { ScriptJob, ScriptOutcome } from './job.ts'

const MAX_MEMORY_BYTES = MEMORY_MIB.python * 1024 * 1024
const PAGE_BYTES = 65_536
/** Python looks for signals once in so many loops taken and functions called, those of its library among them. */
const STEPS_PER_LOOK = 50
/** What of these is let pass for each statement: a script may well call a library that loops. */
const STEPS_PER_STATEMENT = 20
/** How JavaScript says that the kernel gives no more. */
const NO_MEMORY = /allocation failed/i
/** What of Node's globals speaks to the world or makes more of this. */
const WORLDLY = ['process', 'require', 'module', 'fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest', 'navigator', 'BroadcastChannel', 'MessageChannel', 'Worker', 'Buffer', 'global']

interface Python {
  runPython(code: string, options: { readonly globals: unknown }): unknown
  toPy(value: unknown): unknown
  setInterruptBuffer(buffer: { 0: number }): void
}

/** What the types of Node leave out. */
interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow: (this: WasmMemory, pages: number) => number
}

const [, , library = ''] = process.argv
const send = process.send?.bind(process)
const receive = process.on.bind(process)
if (send === undefined) throw new Error('scripts run in a process of their own')

limitMemory()
// Python would tell where this file lies.
process.argv.length = 1
// Asked for by a file system of the machine's, which is never mounted; the permission model refuses it.
Object.defineProperty(process, 'binding', { value: () => ({ fs: constants }) })
const { loadPyodide } = (await import(library)) as { loadPyodide: (options: object) => Promise<Python> }
const silent = () => undefined
const python = await loadPyodide({ stdout: silent, stderr: silent, stdin: () => null, jsglobals: Object.create(null) as object, env: {} })
const run = python.runPython(harness(), { globals: python.toPy({}) }) as (bindings: string, sources: string, statements: number) => string
receive('message', (job: ScriptJob) => send(outcomeOf(job)))
registerHooks({
  resolve() {
    throw new Error('nothing is loaded any more')
  },
})
for (const name of WORLDLY) Reflect.deleteProperty(globalThis, name)
send('ready')

function outcomeOf(job: ScriptJob): ScriptOutcome {
  countFromOutside(job.statementLimit)
  try {
    const outcome = JSON.parse(run(job.bindings, JSON.stringify(job.sources), job.statementLimit)) as ScriptOutcome
    return outcome.kind === 'done' && outcome.json.length > MAX_RESULT_CHARACTERS ? { kind: 'failed', reason: 'size', message: '' } : outcome
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { kind: 'failed', reason: NO_MEMORY.test(message) ? 'memory' : 'threw', message }
  }
}

/**
 * Statements are counted in Python, where a script can reach the counter and switch it off. This count it can't reach: past it
 * the outcome is told at once, and whoever hears it ends the process.
 */
function countFromOutside(statementLimit: number): void {
  let left = Math.ceil((statementLimit * STEPS_PER_STATEMENT) / STEPS_PER_LOOK)
  python.setInterruptBuffer({
    get 0() {
      left -= 1
      if (left === 0) send?.({ kind: 'failed', reason: 'statements', message: '' } satisfies ScriptOutcome)
      return 0
    },
    set 0(_: number) {
      // Python takes back each signal that it saw; there is none.
    },
  })
}

/** Python asks for memory through this; refused, it raises MemoryError. */
function limitMemory(): void {
  const { prototype } = (globalThis as unknown as { readonly WebAssembly: { readonly Memory: { readonly prototype: WasmMemory } } }).WebAssembly.Memory
  const grow = Reflect.get(prototype, 'grow') as (this: WasmMemory, pages: number) => number
  prototype.grow = function growWithin(this: WasmMemory, pages: number): number {
    if (this.buffer.byteLength + pages * PAGE_BYTES > MAX_MEMORY_BYTES) throw new RangeError('a script may have no more memory')
    return grow.call(this, pages)
  }
}

/** A function of Python that runs the sources in one scope and gives JSON of how it ended. */
function harness(): string {
  return `
import builtins, json, keyword, sys

def berth_harness():
    monitoring = sys.monitoring
    events = monitoring.events

    class Stopped(BaseException):
        pass

    def count(files, limit):
        """Lines, jumps and calls of the sources; past the limit each raises again."""
        left = limit
        def step(code, *_):
            nonlocal left
            if code.co_filename not in files:
                return monitoring.DISABLE
            left -= 1
            if left < 0:
                raise Stopped()
        monitoring.use_tool_id(monitoring.DEBUGGER_ID, 'berth')
        for event in (events.LINE, events.JUMP, events.PY_START):
            monitoring.register_callback(monitoring.DEBUGGER_ID, event, step)
        monitoring.set_events(monitoring.DEBUGGER_ID, events.LINE | events.JUMP | events.PY_START)
        return lambda: left < 0

    def failed(reason, message=''):
        return json_dumps({'kind': 'failed', 'reason': reason, 'message': message})

    def sentence(error, files):
        line = error.lineno if isinstance(error, SyntaxError) else None
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename in files:
                line = trace.tb_lineno
            trace = trace.tb_next
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        said = type(error).__name__ + (': ' + text if text else '')
        return said if line is None else f'{said} (line {line})'

    json_dumps, json_loads, make, execute = json.dumps, json.loads, compile, exec

    def run(bindings, sources, limit):
        given = json_loads(bindings)
        names = dict(given['names'])
        names.update({name.replace('-', '_'): value for name, value in given['context'].items()})
        scope = {'__name__': '__main__', 'result': None}
        scope.update({name: value for name, value in names.items() if name.isidentifier() and not keyword.iskeyword(name) and not hasattr(builtins, name)})
        scope['context'] = given['context']
        texts = json_loads(sources)
        files = {each['name'] for each in texts}
        is_over = count(files, limit)
        try:
            for each in texts:
                execute(make(each['text'], each['name'], 'exec'), scope)
        except Stopped:
            return failed('statements')
        except MemoryError:
            return failed('statements' if is_over() else 'memory')
        except BaseException as error:
            return failed('statements') if is_over() else failed('threw', sentence(error, files))
        finally:
            monitoring.set_events(monitoring.DEBUGGER_ID, 0)
        if is_over():
            return failed('statements')
        try:
            return json_dumps({'kind': 'done', 'json': json_dumps(scope.get('result'), allow_nan=False, ensure_ascii=False)}, ensure_ascii=False)
        except MemoryError:
            return failed('memory')
        except BaseException as error:
            return failed('threw', 'its result is no JSON: ' + str(error))

    def close_ways():
        """What leads out of Python has nothing behind it here: better told at the import."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != 'JsFinder']
        for name in ('js', 'pyodide_js', 'pyodide', '_pyodide', '_pyodide_core', 'pyodide_core', 'ctypes', '_ctypes', 'socket', '_socket', 'ssl', '_ssl', 'subprocess', '_posixsubprocess', 'multiprocessing', 'webbrowser'):
            sys.modules[name] = None

    close_ways()
    return run

berth_harness()
`
}
