/** Every dependency is pinned to one version, and has its line in docs/dependencies.md; and nobody else has one. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
const manifest = JSON.parse(read('package.json')) as Readonly<Record<'dependencies' | 'devDependencies', Readonly<Record<string, string>>>>
const wanted = { ...manifest.dependencies, ...manifest.devDependencies }

/** Names in the first column of the table, but for those that tests install into a directory of their own. */
const told = read('docs/dependencies.md')
  .split('\n')
  .flatMap(line => (line.startsWith('|') && !line.includes('in a directory of their own') ? [...(line.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(match => match[1] ?? '') : []))

test('every dependency has a line that says what it does for us, and every line a dependency', () => {
  assert.deepEqual([...told].sort(), Object.keys(wanted).sort())
})

test('every dependency is pinned to an exact version', () => {
  const loose = Object.entries(wanted).filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
  assert.deepEqual(loose, [])
})
