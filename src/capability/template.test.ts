/** Templates, references and JSON of a capability, by what must hold whatever a caller sends. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MAX_DEPTH, TooDeep, isShallow, parseJson } from './json.ts'
import { findJson, pathFault } from './json-path.ts'
import type { ConsumedOperation, Json, JsonObject } from './model.ts'
import { resolveWith } from './reference.ts'
import { buildRequest } from './request.ts'
import { inScope, renderJson, renderPath, renderText, renderValue, spell } from './template.ts'
import { Redactor } from './variables.ts'

const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,8}$/).filter((each) => each !== 'constructor')
// As JSON tells it: it knows no minus zero.
const value = fc.jsonValue().map((each) => JSON.parse(JSON.stringify(each)) as Json)
const scopeOf = (inputs: JsonObject) => ({ variables: {}, inputs })

const OPERATION: ConsumedOperation = {
  namespace: 'api',
  name: 'x',
  description: null,
  method: 'GET',
  path: '/a/{id}/b',
  inputs: [],
  format: 'json',
  outputSchema: null,
  readBody: null,
  mediaType: null,
  maxBinaryBytes: null,
  outputs: [],
  body: null,
}

describe('templates', () => {
  test('a text that is one template is the value itself, with its type', () => {
    fc.assert(fc.property(name, value, (key, given) => assert.deepEqual(renderValue(`{{${key}}}`, scopeOf({ [key]: given })), given)))
  })
  test('what a value says is never read as a template', () => {
    fc.assert(fc.property(fc.string(), (given) => assert.equal(renderText('<{{a}}>', scopeOf({ a: `{{b}}${given}`, b: 'never' })), `<{{b}}${given}>`)))
  })
  test('JSON of a template is JSON whatever stands in quotes, and gives the text back', () => {
    fc.assert(
      fc.property(fc.string(), value, (text, given) => {
        const rendered = renderJson('{"text": "<{{text}}>", "value": {{value}}}', scopeOf({ text, value: given }))
        assert.deepEqual(rendered, { text: `<${text}>`, value: given })
      }),
    )
  })
  test('a value in a path is one segment, or refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }).filter((each) => each.isWellFormed()), async (id) => {
        const isStep = ['', '.', '..'].includes(id)
        const scope = scopeOf({ id })
        if (isStep) return assert.throws(() => renderPath('/a/{id}/b', scope))
        const { url } = await buildRequest(OPERATION, scope, 'http://host.invalid/base')
        assert.equal(url.origin, 'http://host.invalid')
        const parts = url.pathname.split('/')
        assert.deepEqual([parts.length, parts[1], parts[2], parts[4]], [5, 'base', 'a', 'b'])
        assert.equal(decodeURIComponent(parts[3] ?? ''), id)
        assert.deepEqual([url.search, url.hash], ['', ''])
        return undefined
      }),
    )
  })
  test('a query gives back what was put into it, a list as repeated keys', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string().filter((each) => each.isWellFormed()), { minLength: 1 }), async (q) => {
        const operation: ConsumedOperation = { ...OPERATION, path: '/a', inputs: [{ name: 'q', place: 'query', value: null, type: 'array', description: null, isRequired: false }] }
        const { url } = await buildRequest(operation, scopeOf({ q }), 'http://host.invalid')
        assert.deepEqual(url.searchParams.getAll('q'), q)
      }),
    )
  })
  test('a header is one line, or refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (note) => {
        const operation: ConsumedOperation = { ...OPERATION, path: '/a', inputs: [{ name: 'X-Note', place: 'header', value: null, type: 'string', description: null, isRequired: false }] }
        const built = await buildRequest(operation, scopeOf({ note, 'X-Note': note }), 'http://host.invalid').catch(() => null)
        const isClean = [...note].every((char) => char === '\t' || (char >= ' ' && char !== '\u007f'))
        assert.equal(built !== null, isClean)
      }),
    )
  })
})

describe('references', () => {
  test('a dotted name is the exact key first, then a walk', () => {
    fc.assert(
      fc.property(name, name, value, value, (outer, inner, flat, nested) => {
        assert.deepEqual(inScope(scopeOf({ [`${outer}.${inner}`]: flat, [outer]: { [inner]: nested } }), `${outer}.${inner}`), flat)
        assert.deepEqual(inScope(scopeOf({ [outer]: { [inner]: nested } }), `${outer}.${inner}`), nested)
      }),
    )
  })
  test('what refers to an absent input is left out, never sent as it stands', () => {
    fc.assert(
      fc.property(fc.constantFrom('rest', 'tools', 'own'), name, (adapter, input) => {
        assert.deepEqual(resolveWith({ sent: `${adapter}.${input}` }, scopeOf({}), ['own']), {})
        assert.deepEqual(resolveWith({ sent: `${adapter}.${input}` }, scopeOf({ [input]: 'given' }), ['own'])['sent'], 'given')
      }),
    )
  })
  test('nothing is found on the prototype of what was given', () => {
    for (const each of ['constructor', '__proto__', 'toString', 'a.constructor', 'a.__proto__.x', 'hasOwnProperty']) {
      assert.equal(inScope(scopeOf({ a: { b: 1 } }), each), undefined, each)
    }
  })
})

describe('paths into documents', () => {
  test('any text is a path or has a fault in one line, and finding never throws for a path', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^\$[.[\]a-z0-9'*?@-]{0,12}$/)), value, (path, document) => {
        const fault = pathFault(path)
        if (fault === null) findJson(path, document)
        else assert.ok(!fault.includes('\n'))
      }),
    )
  })
  test('`$.` is the whole document, and a name with dashes is found after a dot', () => {
    fc.assert(
      fc.property(value, (document) => {
        assert.deepEqual(findJson('$.', document), document)
        assert.deepEqual(findJson('$.a-b.c-d', { 'a-b': { 'c-d': document } }), document)
      }),
    )
  })
})

describe('JSON from outside', () => {
  test('is what JSON.parse makes of it', () => {
    fc.assert(fc.property(value, (given) => assert.deepEqual(parseJson(JSON.stringify(given)), JSON.parse(JSON.stringify(given)))))
  })
  test('is read up to its depth and not past it; brackets in texts are none', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
    assert.ok(isShallow(parseJson(nested(MAX_DEPTH))))
    assert.throws(() => parseJson(nested(MAX_DEPTH + 1)), TooDeep)
    assert.equal(parseJson(JSON.stringify(`"\\${'['.repeat(1000)}`)), `"\\${'['.repeat(1000)}`)
  })
})

test('a secret is struck out of any text around it, and in any form', () => {
  const secret = fc.string({ minLength: 12, maxLength: 40 }).filter((each) => each.isWellFormed() && each.trim().length >= 12)
  fc.assert(
    fc.property(secret, fc.string().filter((each) => each.isWellFormed()), fc.string().filter((each) => each.isWellFormed()), (word, before, behind) => {
      const redactor = new Redactor([word])
      for (const form of [word, encodeURIComponent(word), JSON.stringify(word).slice(1, -1)]) {
        assert.ok(!redactor.strike(`${before} ${form} ${behind}`).includes(form) || '***'.includes(form), form)
      }
      const inner = Buffer.from(before + word + behind).toString('base64')
      assert.notEqual(redactor.strike(inner), inner)
    }),
  )
})

test('a secret of few characters is struck out where it stands as a word, and in no name of a field', () => {
  const short = ['7', 'fra', 'a+b', '-x', 'ü']
  const redactor = new Redactor(short, short)
  for (const [text, wanted] of [
    ['token fra of 7', 'token *** of ***'],
    ['(fra)', '(***)'],
    ['Frankfurt, fragile, 17, not_fra', 'Frankfurt, fragile, 17, not_fra'],
    ['a+b and a%2Bb', '*** and ***'],
    ['q=-x&u=ü', 'q=***&u=***'],
    ['über', 'über'],
  ] as const) assert.equal(redactor.strike(text), wanted)
  assert.deepEqual(redactor.strikeValue({ fra: 'fra', count: 7, list: ['x 7'] }), { fra: '***', count: 7, list: ['x ***'] })
})

test('a secret of digits is struck out of numbers, and the document stays one', () => {
  const redactor = new Redactor(['123456'])
  assert.deepEqual(redactor.strikeValue({ id: 123_456, text: 'n123456', other: 12_345, nested: [{ '123456': null }] }), { id: '***', text: 'n***', other: 12_345, nested: [{ '***': null }] })
})

test('any value as text and back is itself', () => {
  fc.assert(fc.property(value, (given) => (typeof given === 'object' && given !== null ? assert.deepEqual(JSON.parse(spell(given)), JSON.parse(JSON.stringify(given))) : assert.equal(spell(given), given === null ? '' : String(given)))))
})
