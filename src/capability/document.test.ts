/** The reader of documents, by what must hold of any text: it tells, and never throws. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { parse, stringify } from 'yaml'
import { parseCapability, spellFinding } from './document.ts'

const EXAMPLE = readFileSync(fileURLToPath(new URL('../../docs/examples/koyeb-instances.yml', import.meta.url)), 'utf8')

test('any text is a capability, or at least one error with a sentence', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string(), fc.jsonValue().map((each) => `naftiko: 1.0.0-alpha2\ncapability: ${JSON.stringify(each)}`)), async (text) => {
      const { capability, findings } = await parseCapability(text, '.')
      assert.equal(capability === null, findings.some((each) => each.severity === 'error'))
      for (const each of findings) assert.match(spellFinding('x.yml', each), /^x\.yml(?::\d+:\d+)?: (?:error|warning): .+[.!] \[[a-z-]+\]$/s)
    }),
    { numRuns: 300 },
  )
})

test('a document with any part replaced is read or refused, and never throws', async () => {
  const document = parse(EXAMPLE) as unknown
  const paths: (string | number)[][] = []
  const walk = (value: unknown, path: (string | number)[]): void => {
    if (path.length > 0) paths.push(path)
    if (typeof value === 'object' && value !== null) for (const [key, each] of Object.entries(value)) walk(each, [...path, Array.isArray(value) ? Number(key) : key])
  }
  walk(document, [])
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue(), async (path, odd) => {
      const copy = JSON.parse(JSON.stringify(document)) as Record<string | number, unknown>
      const holder = path.slice(0, -1).reduce<Record<string | number, unknown>>((at, key) => at[key] as Record<string | number, unknown>, copy)
      holder[path.at(-1) ?? ''] = odd
      const { capability, findings } = await parseCapability(stringify(copy), '.')
      assert.equal(capability === null, findings.some((each) => each.severity === 'error'))
    }),
    { numRuns: 200 },
  )
})

test('what the order of a map is makes no difference', async () => {
  const turn = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(turn)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).toReversed().map(([key, each]) => [key, turn(each)]))
  }
  const [there, back] = await Promise.all([parseCapability(EXAMPLE, '.'), parseCapability(stringify(turn(parse(EXAMPLE))), '.')])
  assert.ok(there.capability !== null && back.capability !== null)
  assert.deepEqual(back.capability, there.capability)
})
