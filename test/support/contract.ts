/**
 * The published Hypeman contract as a judge of answers: every body must be what the OpenAPI document declares for
 * that operation and status, or its `Error` where the document is silent about the status.
 *
 * The document lies beside the checkout and is not part of it; a clone without it skips the check visibly.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import type { ValidateFunction } from 'ajv'
import addFormats from 'ajv-formats'

const FILE = fileURLToPath(new URL('../../../shared/contracts/hypeman.openapi.json', import.meta.url))

interface Operation {
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: object }>> }>>
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

export interface Contract {
  /** Asserts that the answer is one that the contract allows; counts it. */
  check(method: string, path: string, answer: { readonly status: number; readonly body: unknown; readonly text: string }): void
  /** `GET /instances 200`, … that were judged so far. */
  readonly judged: ReadonlySet<string>
}

/** The contract, or null with the reason that a test should show when it skips. */
export function loadContract(): Contract | null {
  if (!existsSync(FILE)) return null
  const document = JSON.parse(readFileSync(FILE, 'utf8')) as Document
  const ajv = new Ajv({ strict: false, allErrors: true })
  addFormats.default(ajv)
  ajv.addSchema(document, 'contract')
  const compiled = new Map<string, ValidateFunction>()
  const judged = new Set<string>()

  const validatorFor = (pointer: string): ValidateFunction => {
    const known = compiled.get(pointer)
    if (known !== undefined) return known
    const made = ajv.compile({ $ref: `contract#${pointer}` })
    compiled.set(pointer, made)
    return made
  }

  return {
    judged,
    check(method, path, answer) {
      const template = templateOf(document, path)
      const operation = template === null ? undefined : document.paths[template]?.[method.toLowerCase()]
      const response = operation?.responses[String(answer.status)]
      const media = response?.content?.['application/json']
      const label = `${method} ${template ?? path} ${answer.status}`
      if (response !== undefined && response.content === undefined) {
        assert.equal(answer.text, '', `${label} has no body`)
      } else if (media !== undefined || answer.status >= 400) {
        const pointer =
          media === undefined || template === null
            ? '/components/schemas/Error'
            : `/paths/${escaped(template)}/${method.toLowerCase()}/responses/${answer.status}/content/application~1json/schema`
        const validate = validatorFor(pointer)
        assert.ok(validate(answer.body), `${label}: ${ajv.errorsText(validate.errors)}\n${answer.text.slice(0, 2000)}`)
      }
      judged.add(label)
    },
  }
}

/** The template of the contract that a path belongs to; a literal part beats a parameter. */
function templateOf(document: Document, path: string): string | null {
  const parts = (path.split('?')[0] ?? '').split('/')
  const matching = Object.keys(document.paths).filter(template => {
    const pattern = template.split('/')
    return pattern.length === parts.length && pattern.every((part, index) => part.startsWith('{') || part === parts[index])
  })
  return matching.toSorted((a, b) => a.split('{').length - b.split('{').length)[0] ?? null
}

/** JSON pointer escapes, and the percent-encoding that a fragment needs for braces. */
function escaped(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))
}
