/**
 * Reads the files of script steps at the start, so that one that is missing is told then and none is read later. A
 * script lies under its location: no path leaves it, and neither does a link.
 */
import { readFile, realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Action, Capability, Expose, Scripting, Step } from '../model.ts'
import { fail } from '../shape.ts'
import type { Path, Report } from '../shape.ts'
import { SANDBOXED } from './job.ts'
import type { ScriptSource } from './job.ts'

/** Scripts are written by people. */
const MAX_SCRIPT_BYTES = 1024 * 1024
const SEGMENT = /^[a-zA-Z0-9._-]+$/

type ScriptStep = Extract<Step, { kind: 'script' }>

/** Why a step can't be run, whatever its files say; null if it can. */
export function scriptFault(step: ScriptStep, { isEnabled, language, location, allowedLanguages }: Scripting): string | null {
  const spoken = step.language ?? language
  if (!isEnabled) return 'runs a script, which the control adapter turns off.'
  if (spoken === null) return 'runs a script and says not in which language: neither it nor a control adapter\'s defaultLanguage.'
  if (allowedLanguages !== null && !allowedLanguages.includes(spoken)) return `runs a script in ${spoken}, which the control adapter doesn't allow.`
  if (!SANDBOXED.some((each) => each === spoken)) return `runs a script in ${spoken}; only ${SANDBOXED.join(' and ')} have a sandbox here, and nothing is run outside of one.`
  if ((step.location ?? location) === null) return 'runs a script and says not where it lies: neither it nor a control adapter\'s defaultLocation.'
  const odd = [...step.dependencies, step.file].find((each) => each.split('/').some((part) => !SEGMENT.test(part) || part === '..' || part === '.'))
  return odd === undefined ? null : `runs a script "${odd}", which is no path below its location.`
}

/** The capability with the text of every script in its steps. */
export async function withScripts(capability: Capability, body: Path, report: Report): Promise<Capability> {
  const { scripting } = capability
  const prepareStep = async (step: Step, path: Path): Promise<Step> => {
    if (step.kind !== 'script') return step
    const location = step.location ?? scripting.location ?? ''
    try {
      const sources: ScriptSource[] = []
      for (const file of [...step.dependencies, step.file]) sources.push({ name: file, text: await readScript(fileURLToPath(location), file) })
      return { ...step, sources }
    } catch (error) {
      fail(report, path, 'script', `has a step "${step.name}" whose script can't be used: ${error instanceof Error ? error.message : String(error)}`)
      return step
    }
  }
  const prepare = async (action: Action, path: Path): Promise<Action> =>
    action.kind === 'steps' ? { ...action, steps: await Promise.all(action.steps.map((each) => prepareStep(each, path))) } : action
  const prepareUnit = async <T extends { readonly action: Action }>(unit: T, path: Path): Promise<T> => ({ ...unit, action: await prepare(unit.action, path) })
  const prepareExpose = async (expose: Expose, path: Path): Promise<Expose> => {
    if (expose.type === 'rest') {
      const resources = expose.resources.map(async (each) => ({ ...each, operations: await Promise.all(each.operations.map((one) => prepareUnit(one, path))) }))
      return { ...expose, resources: await Promise.all(resources) }
    }
    if (expose.type !== 'mcp') return expose
    const tools = await Promise.all(expose.tools.map((each) => prepareUnit(each, path)))
    const resources = await Promise.all(expose.resources.map(async (each) => ({ ...each, unit: each.unit === null ? null : await prepareUnit(each.unit, path) })))
    return { ...expose, tools, resources }
  }
  const aggregates = capability.aggregates.map(async (each, at) => ({
    ...each,
    functions: await Promise.all(each.functions.map((one) => prepareUnit(one, [...body, 'aggregates', at]))),
  }))
  const exposes = capability.exposes.map((each, at) => prepareExpose(each, [...body, 'exposes', at]))
  return { ...capability, aggregates: await Promise.all(aggregates), exposes: await Promise.all(exposes) }
}

async function readScript(location: string, file: string): Promise<string> {
  const told = (why: string): Error => new Error(`${file} ${why}.`)
  const root = await realpath(location).catch(() => {
    throw told(`is looked for in ${location}, which is not there`)
  })
  const wanted = join(root, file)
  const real = await realpath(wanted).catch(() => {
    throw told(`is not in ${location}`)
  })
  if (real !== wanted || !real.startsWith(root + sep)) throw told('is a link, which is not followed')
  const bytes = await readFile(real).catch(() => {
    throw told("can't be read")
  })
  if (bytes.length > MAX_SCRIPT_BYTES) throw told('is larger than 1 MiB')
  return bytes.toString('utf8')
}
