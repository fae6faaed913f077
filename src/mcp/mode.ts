/** Which tools a client is shown: those its key may use, less what the server, or the client itself, has switched off. */
import { BerthError } from '../instance/errors.ts'
import type { Scope } from '../instance/model.ts'

export const TOOLSETS = ['catalogue', 'instances', 'lifecycle', 'observe', 'exec', 'files', 'snapshots'] as const
export type Toolset = (typeof TOOLSETS)[number]

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
  /** Only tools of these sets; null is all. */
  readonly toolsets: readonly Toolset[] | null
}

export const EVERYTHING: Mode = { readOnly: false, noExec: false, toolsets: null }

/** Headers by which a client may narrow what it is shown; never widen it. */
export const MODE_HEADERS = { readOnly: 'berth-mcp-read-only', noExec: 'berth-mcp-no-exec', toolsets: 'berth-mcp-toolsets' } as const

/** The tools that remain, by name. */
export function shownTools<T extends Showable>(tools: readonly T[], mode: Mode, scopes: readonly Scope[]): readonly T[] {
  return tools
    .filter(({ scope }) => scopes.includes(scope))
    .filter(({ hints }) => !mode.readOnly || hints.readOnly)
    .filter(({ scope }) => !mode.noExec || scope !== 'exec')
    .filter(({ toolset }) => mode.toolsets?.includes(toolset) ?? true)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** What both allow. */
export function narrowed(mode: Mode, by: Mode): Mode {
  const { toolsets } = mode
  return {
    readOnly: mode.readOnly || by.readOnly,
    noExec: mode.noExec || by.noExec,
    toolsets: toolsets === null ? by.toolsets : by.toolsets === null ? toolsets : toolsets.filter(toolset => by.toolsets?.includes(toolset)),
  }
}

/** The mode that a client's headers ask for. Throws `invalid_request` for a toolset that is none. */
export function modeOfHeaders(headers: Headers): Mode {
  const toolsets = headers.get(MODE_HEADERS.toolsets)
  return {
    readOnly: isOn(headers.get(MODE_HEADERS.readOnly)),
    noExec: isOn(headers.get(MODE_HEADERS.noExec)),
    toolsets: toolsets === null ? null : parseToolsets(toolsets),
  }
}

/** `instances,exec`; the empty text is all. Throws `invalid_request`. */
export function parseToolsets(text: string): readonly Toolset[] | null {
  const words = text.split(',').map(word => word.trim()).filter(word => word !== '')
  if (words.length === 0) return null
  return words.map(word => {
    const toolset = TOOLSETS.find(known => known === word)
    if (toolset === undefined) throw new BerthError('invalid_request', `${JSON.stringify(word.slice(0, 40))} is no toolset: use ${TOOLSETS.join(', ')}.`)
    return toolset
  })
}

function isOn(value: string | null): boolean {
  return value !== null && !['', '0', 'false', 'no'].includes(value.trim().toLowerCase())
}
