/**
 * Which lines of a log a client wants: a text they hold, or a regular expression of its own.
 *
 * An expression of a stranger may take for ever. It runs in a context of its own with a deadline, which ends it
 * wherever it is.
 */
import { createContext, Script } from 'node:vm'
import { BerthError } from '../../instance/errors.ts'
import { fieldError } from './errors.ts'

export const PATTERN_LIMIT_CHARACTERS = 256
export const MATCH_LIMIT_MS = 500
/** Of a line, what is looked at. */
const LINE_LIMIT_CHARACTERS = 8192

export type Matcher = (lines: readonly string[]) => readonly boolean[]

const RUN = new Script('lines.map(line => expression.test(line))')

export function lineMatcher(regex: string | null, text: string | null): Matcher {
  if (regex !== null && text !== null) throw fieldError('regex', 'give either regex or text')
  if (text !== null) return lines => lines.map(line => line.includes(text))
  if (regex === null) return lines => lines.map(() => true)
  if (regex.length > PATTERN_LIMIT_CHARACTERS) throw fieldError('regex', `at most ${PATTERN_LIMIT_CHARACTERS} characters`)
  const expression = compiled(regex)
  return lines => {
    try {
      const context = createContext({ expression, lines: lines.map(line => line.slice(0, LINE_LIMIT_CHARACTERS)) })
      return Array.from(RUN.runInContext(context, { timeout: MATCH_LIMIT_MS }) as boolean[])
    } catch (error) {
      throw new BerthError('invalid_request', `The expression takes longer than ${MATCH_LIMIT_MS} ms: give a simpler one.`, {
        cause: error,
        details: { field: 'regex', description: 'it takes too long' },
      })
    }
  }
}

function compiled(regex: string): RegExp {
  try {
    return new RegExp(regex, 'u')
  } catch (error) {
    throw fieldError('regex', 'it is not a regular expression', error)
  }
}
