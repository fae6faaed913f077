import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EVERYTHING, modeOfHeaders, narrowed, parseToolsets, shownTools, TOOLSETS } from './mode.ts'
import type { Mode, Showable } from './mode.ts'

const tool = (name: string, toolset: Showable['toolset'], scope: Showable['scope'], readOnly: boolean): Showable => ({ name, toolset, scope, hints: { readOnly } })
const TOOLS = [tool('b-list', 'instances', 'read', true), tool('a-make', 'lifecycle', 'write', false), tool('run', 'exec', 'exec', false), tool('see', 'files', 'exec', true)]
const names = (mode: Partial<Mode>, scopes: Parameters<typeof shownTools>[2]) => shownTools(TOOLS, { ...EVERYTHING, ...mode }, scopes).map(({ name }) => name)
const ALL = ['read', 'write', 'exec'] as const

test('tools are shown by name, as far as key and mode allow', () => {
  assert.deepEqual(names({}, ALL), ['a-make', 'b-list', 'run', 'see'])
  assert.deepEqual(names({}, ['read']), ['b-list'])
  assert.deepEqual(names({ readOnly: true }, ALL), ['b-list', 'see'])
  assert.deepEqual(names({ noExec: true }, ALL), ['a-make', 'b-list'])
  assert.deepEqual(names({ toolsets: [['exec', 'instances']] }, ALL), ['b-list', 'run'])
})

test('some sets are shown on request alone, and one goes across the others', () => {
  const tools = [tool('exec-command', 'exec', 'exec', false), tool('list-market', 'market', 'read', true), tool('restart-instance', 'lifecycle', 'write', false)]
  const shown = (...texts: readonly string[]) => shownTools(tools, { ...EVERYTHING, toolsets: texts.flatMap(parseToolsets) }, ALL).map(({ name }) => name)
  assert.deepEqual(shown(), ['exec-command', 'restart-instance'])
  assert.deepEqual(shown('all'), ['exec-command', 'list-market', 'restart-instance'])
  assert.deepEqual(shown('market'), ['list-market'])
  assert.deepEqual(shown('core'), ['exec-command'])
  assert.deepEqual(shown('core,lifecycle'), ['exec-command', 'restart-instance'])
  // What the server holds back, no client gets; what of it a client wants may be called otherwise.
  assert.deepEqual(shown('core', 'all'), ['exec-command'])
  assert.deepEqual(shown('exec', 'core'), ['exec-command'])
  assert.deepEqual(shown('files', 'core'), [])
})

test('a client narrows what the server allows, and never widens it', () => {
  const server: Mode = { readOnly: true, noExec: false, toolsets: [['instances', 'exec']] }
  assert.deepEqual(narrowed(server, { readOnly: false, noExec: true, toolsets: [['exec', 'files']] }), { readOnly: true, noExec: true, toolsets: [['instances', 'exec'], ['exec', 'files']] })
  assert.deepEqual(narrowed(server, EVERYTHING), server)
  assert.deepEqual(narrowed(EVERYTHING, server), server)
})

test('headers say what a client wants to see', () => {
  assert.deepEqual(modeOfHeaders(new Headers()), EVERYTHING)
  assert.deepEqual(modeOfHeaders(new Headers({ 'Berth-MCP-Read-Only': 'true', 'Berth-MCP-No-Exec': '0', 'Berth-MCP-Toolsets': 'files, exec' })), {
    readOnly: true,
    noExec: false,
    toolsets: [['files', 'exec']],
  })
  assert.deepEqual(parseToolsets(' '), [])
  assert.deepEqual(parseToolsets('all'), [TOOLSETS])
  assert.throws(() => parseToolsets('files,shell'), /"shell" is no toolset: use all, core, catalogue, instances/)
})
