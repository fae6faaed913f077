/** Which tools a client is shown: those its key may use, less what the server, or the client itself, has switched off. */
import { BerthError } from '../instance/errors.ts'
import type { Scope } from '../instance/model.ts'

export const TOOLSETS = ['catalogue', 'instances', 'lifecycle', 'observe', 'exec', 'files', 'snapshots', 'market'] as const
export type Toolset = (typeof TOOLSETS)[number]

/** Shown only to whoever asks for them by name, or for all. */
const ON_REQUEST: ReadonlySet<Toolset> = new Set<Toolset>(['market'])

/** A set across the others: what it takes to get a computer, work on it, and give it back. */
export const CORE = 'core'
const CORE_TOOLS: ReadonlySet<string> = new Set([
  'create-instance',
  'delete-instance',
  'edit-file',
  'exec-command',
  'get-command',
  'get-instance',
  'get-instance-logs',
  'list-files',
  'list-instances',
  'read-file',
  'start-command',
  'start-instance',
  'stop-command',
  'stop-instance',
  'wait-for-instance',
  'write-file',
])

/** What one side wants to see: sets by name, or `core`. */
export type Selection = readonly (Toolset | typeof CORE)[]

/** What of a tool decides whether it is shown. */
export interface Showable {
  readonly name: string
  readonly toolset: Toolset
  readonly scope: Scope
  readonly hints: { readonly readOnly: boolean }
}

export interface Mode {
  /** Only tools that change nothing. */
  readonly readOnly: boolean
  /** Nothing that reaches into an instance: no commands, no files. */
  readonly noExec: boolean
  /** Only tools that each of these selections holds; without any, all but those on request. */
  readonly toolsets: readonly Selection[]
}

/** Nobody has said anything. */
export const EVERYTHING: Mode = { readOnly: false, noExec: false, toolsets: [] }

/** Headers by which a client may narrow what it is shown; never widen it. */
export const MODE_HEADERS = { readOnly: 'berth-mcp-read-only', noExec: 'berth-mcp-no-exec', toolsets: 'berth-mcp-toolsets' } as const

/** The tools that remain, by name. */
export function shownTools<T extends Showable>(tools: readonly T[], mode: Mode, scopes: readonly Scope[]): readonly T[] {
  return tools
    .filter(({ scope }) => scopes.includes(scope))
    .filter(({ hints }) => !mode.readOnly || hints.readOnly)
    .filter(({ scope }) => !mode.noExec || scope !== 'exec')
    .filter(tool => (mode.toolsets.length === 0 ? !ON_REQUEST.has(tool.toolset) : mode.toolsets.every(selection => isIn(selection, tool))))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

function isIn(selection: Selection, { name, toolset }: Showable): boolean {
  return selection.includes(toolset) || (selection.includes(CORE) && CORE_TOOLS.has(name))
}

/** The sets that a tool is in, for its page. */
export function setsOf({ name, toolset }: Pick<Showable, 'name' | 'toolset'>): readonly string[] {
  return CORE_TOOLS.has(name) ? [toolset, CORE] : [toolset]
}

/** What both allow. */
export function narrowed(mode: Mode, by: Mode): Mode {
  return { readOnly: mode.readOnly || by.readOnly, noExec: mode.noExec || by.noExec, toolsets: [...mode.toolsets, ...by.toolsets] }
}

/** The mode that a client's headers ask for. Throws `invalid_request` for a toolset that is none. */
export function modeOfHeaders(headers: Headers): Mode {
  const toolsets = headers.get(MODE_HEADERS.toolsets)
  return {
    readOnly: isOn(headers.get(MODE_HEADERS.readOnly)),
    noExec: isOn(headers.get(MODE_HEADERS.noExec)),
    toolsets: toolsets === null ? [] : parseToolsets(toolsets),
  }
}

/** `instances,exec`, `core` or `all`; the empty text says nothing. Throws `invalid_request`. */
export function parseToolsets(text: string): readonly Selection[] {
  const words = text.split(',').map(word => word.trim()).filter(word => word !== '')
  if (words.length === 0) return []
  if (words.includes('all')) return [TOOLSETS]
  return [words.map(word => ([...TOOLSETS, CORE] as const).find(known => known === word) ?? unknown(word))]
}

function unknown(word: string): never {
  throw new BerthError('invalid_request', `${JSON.stringify(word.slice(0, 40))} is no toolset: use all, core, ${TOOLSETS.join(', ')}.`)
}

function isOn(value: string | null): boolean {
  return value !== null && !['', '0', 'false', 'no'].includes(value.trim().toLowerCase())
}
