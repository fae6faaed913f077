/** What the documents show a reader: commands that there are, links that lead somewhere, figures that were measured. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'
import { CommanderError } from 'commander'
import type { Command } from 'commander'
import { withFigures } from '../bench/readme.ts'
import { withSettings } from '../scripts/settings-reference.ts'
import { makeProgram } from '../src/cli/program.ts'

const ROOT = join(import.meta.dirname, '..')
const PAGES = [
  'README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'bench/RESULTS.md',
  ...readdirSync(join(ROOT, 'docs')).filter(name => name.endsWith('.md')).map(name => `docs/${name}`),
].map(path => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))

interface Shown {
  readonly line: string
  /** In a sentence commands may be cut short. */
  readonly isWhole: boolean
}

test('every berth command that a page shows is one, with the flags that it has', async () => {
  let count = 0
  const wrong: string[] = []
  for (const { path, text } of PAGES) {
    for (const { line, isWhole } of commandsOf(text)) {
      for (const words of callsOf(line)) {
        count += 1
        const problem = await problemOf(words, isWhole)
        if (problem !== null) wrong.push(`${path}: ${line}: ${problem}`)
      }
    }
  }
  assert.deepEqual(wrong, [])
  assert.ok(count > 200, `${count} commands were found`)
})

test('every link between pages leads to a file, and to a heading of it', () => {
  const wrong: string[] = []
  for (const { path, text } of PAGES) {
    for (const [, target = ''] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [file = '', anchor] = target.split('#')
      const found = file === '' ? join(ROOT, path) : resolve(ROOT, dirname(path), file)
      if (!existsSync(found) || (anchor !== undefined && !anchorsOf(readFileSync(found, 'utf8')).has(anchor))) wrong.push(`${path}: ${target}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('every page of docs/ is linked from the README or from a page that is', () => {
  const linked = new Set(['README.md'])
  for (const path of linked) {
    const text = PAGES.find(page => page.path === path)?.text ?? ''
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+\.md)/g)) if (!/^[a-z]+:/.test(target)) linked.add(relative(ROOT, resolve(ROOT, dirname(path), target)))
  }
  assert.deepEqual(PAGES.map(({ path }) => path).filter(path => !linked.has(path)), [])
})

test('the README shows the figures that were measured last', () => {
  const text = (path: string) => PAGES.find(page => page.path === path)?.text ?? ''
  assert.equal(text('README.md'), withFigures(text('README.md'), text('bench/RESULTS.md')), 'run: node bench/readme.ts')
})

const SETTINGS_PAGE = PAGES.find(({ path }) => path === 'docs/settings.md')?.text ?? ''

test('the table of settings is what the server takes', () => {
  assert.equal(SETTINGS_PAGE, withSettings(SETTINGS_PAGE), 'run node scripts/settings-reference.ts')
})

test('every variable of Berth that a page names is in docs/settings.md, and each of these is read somewhere', () => {
  const inPages = new Set(PAGES.flatMap(({ text }) => [...text.matchAll(/\bBERTH_[A-Z0-9_]+(?![*A-Z0-9_])/g)].map(([name]) => name)))
  const documented = new Set([...SETTINGS_PAGE.matchAll(/^\| `(BERTH_[A-Z0-9_]+)`/gm)].map(([, name = '']) => name))
  assert.deepEqual([...inPages].filter(name => !documented.has(name)), [], 'named, and not in docs/settings.md')
  const sources = ['src', 'scripts', 'guest', 'test/support'].flatMap(dir => sourcesBelow(join(ROOT, dir))).map(path => readFileSync(path, 'utf8'))
  assert.deepEqual([...documented].filter(name => !sources.some(text => text.includes(name))), [], 'documented, and read by nothing')
})

test('every variable that the command line reads is in docs/settings.md', () => {
  const read = sourcesBelow(join(ROOT, 'src')).flatMap(path => [...readFileSync(path, 'utf8').matchAll(/env(?:\['|\.)(BERTH_[A-Z0-9_]+)/g)].map(([, name = '']) => name))
  assert.ok(read.length > 3, String(read))
  assert.deepEqual(read.filter(name => !SETTINGS_PAGE.includes(`\`${name}\``)), [])
})

function sourcesBelow(dir: string): readonly string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && /\.(?:ts|tsx|sh)$/.test(entry.name) && !entry.name.endsWith('.test.ts'))
    .map(entry => join(entry.parentPath, entry.name))
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): ReadonlySet<string> {
  return new Set([...withoutCode(text, '```').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')))
}

/** Lines of code blocks, and code in sentences, that begin with the command. */
function commandsOf(text: string): readonly Shown[] {
  const blocks = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].flatMap(([, language = '', code = '']) =>
    code
      .replaceAll(/\\\n\s*/g, '')
      .split('\n')
      .map(line => (language === 'console' ? line.replace(/^\$ /, '') : line).trim())
      .filter((line, at, lines) => isCall(line) && (language !== 'console' || code.split('\n').includes(`$ ${lines[at]}`)))
      .map(line => ({ line, isWhole: true })),
  )
  const spans = [...withoutCode(text, '```').matchAll(/`([^`\n]+)`/g)].map(([, line = '']) => ({ line, isWhole: false })).filter(({ line }) => isCall(line))
  return [...blocks, ...spans]
}

function isCall(line: string): boolean {
  return /^(?:[A-Z_]+=\S+ |[^|]* \| |source <\()*(?:\.\/)?berth(?: |$)/.test(line)
}

function withoutCode(text: string, ...only: readonly string[]): string {
  const blocks = text.replaceAll(/^```[\s\S]*?^```$/gm, '')
  return only.length > 0 ? blocks : blocks.replaceAll(/`[^`\n]*`/g, '')
}

/** The words of each call of `berth` in a line of shell. */
function callsOf(line: string): readonly (readonly string[])[] {
  const calls: string[][] = []
  let words: string[] = []
  const end = () => {
    const at = words.findIndex(word => word === 'berth' || word === './berth' || word === '<(berth')
    if (at >= 0) calls.push(words.slice(at + 1))
    words = []
  }
  for (const [token] of line.matchAll(/(?:'[^']*'|"[^"]*"|\$\([^)]*\)|<\(|[^\s;|&)'"])+|[;|&)]+|\s+/g)) {
    if (/^\s/.test(token)) continue
    if (token.startsWith('#')) break
    if (/^[;|&)]/.test(token)) end()
    else words.push(token.replaceAll(/'([^']*)'|"([^"]*)"/g, '$1$2'))
  }
  end()
  return calls
}

/** What the command line says against these words; null if nothing. Nothing is done. */
async function problemOf(words: readonly string[], isWhole: boolean): Promise<string | null> {
  const shown: string[] = words.filter(word => word !== '…')
  const name = shown.find(word => !word.startsWith('-')) ?? null
  try {
    const program = await makeProgram(name)
    doNothing(program)
    await program.parseAsync(shown, { from: 'user' })
    return null
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    const isCutShort = ['commander.missingArgument', 'commander.missingMandatoryOptionValue', 'commander.optionMissingArgument', 'commander.help'].includes(error.code)
    return error.exitCode === 0 || (isCutShort && (!isWhole || words.includes('…'))) ? null : error.message
  }
}

function doNothing(command: Command): void {
  command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined })
  for (const each of command.commands) doNothing(each)
  // The library does not say whether a command does something by itself: those that only hold others must not begin to.
  const { _actionHandler: action } = command as unknown as { readonly _actionHandler: unknown }
  if (action !== null && action !== undefined) command.action(() => undefined)
}
