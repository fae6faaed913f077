/** What must hold of answers: bytes come from operations that give bytes, media types can be made, caching is told honestly. */
import { calledOperations } from './called.ts'
import type { Action, Capability, ConsumedOperation, DeclaredResponse, McpExpose, Output, RestExpose, RestOperation } from './model.ts'
import { schemaFault } from './answer-schema.ts'
import { isJsonType } from './response.ts'
import { fail } from './shape.ts'
import type { Path, Report } from './shape.ts'
import { MAX_BINARY_BYTES, spellBytes } from './upstream.ts'

export function lintBinaryOperation(operation: ConsumedOperation, path: Path, report: Report): void {
  const where = `has an operation "${operation.name}"`
  const bytes = operation.maxBinaryBytes
  if (bytes !== null && bytes > MAX_BINARY_BYTES) fail(report, path, 'binary', `${where} with a maxBinarySize past the ${spellBytes(MAX_BINARY_BYTES)} that are held in memory; it is read as that.`, 'warning')
  if (operation.format !== 'binary') {
    if (bytes !== null) fail(report, path, 'binary', `${where} with a maxBinarySize, and it answers ${operation.format}; it has no effect.`, 'warning')
    return
  }
  if (operation.outputs.length > 0) fail(report, path, 'binary', `${where} that answers bytes, and outputParameters; they have no effect.`, 'warning')
}

export function lintRestAnswers(capability: Capability, expose: RestExpose, path: Path, report: Report): void {
  lintLimit(expose.maxBinaryBytes, path, report)
  for (const operation of expose.resources.flatMap((each) => each.operations)) {
    lintUnitOutputs(capability, operation, path, report)
    const isBinary = givesBytes(capability, operation.action)
    for (const { status, content } of operation.responses) {
      const where = `has "${operation.name}", whose response ${status}`
      if (content.some((each) => each.isBinary) && !isBinary && status.startsWith('2')) {
        fail(report, path, 'binary', `${where} is binary, and what it calls has no "outputRawFormat: binary"; it answers JSON.`, 'warning')
      }
      for (const each of content) {
        if (each.schema !== null) lintSchema(each, where, path, report)
        const isMade = each.isBinary || isJsonType(each.mediaType) || each.mediaType.startsWith('text/')
        if (!isMade) fail(report, path, 'media-type', `${where} is ${each.mediaType}, which documents aren't made into; it answers JSON.`, 'warning')
      }
    }
  }
}

export function lintMcpAnswers(capability: Capability, expose: McpExpose, path: Path, report: Report): void {
  lintLimit(expose.maxBinaryBytes, path, report)
  for (const tool of expose.tools) lintUnitOutputs(capability, tool, path, report)
  for (const { name, isBinary, unit } of expose.resources) {
    if (isBinary && unit !== null && !givesBytes(capability, unit.action)) {
      fail(report, [...path, 'resources'], 'binary', `has a binary resource "${name}", and what it calls has no "outputRawFormat: binary".`)
    }
  }
  if (expose.cache.scope === 'public' && expose.authentication !== null) {
    fail(report, [...path, 'cacheScope'], 'cache', 'is "public" where callers need a credential: caches may give to one what another was given.', 'warning')
  }
}

function lintSchema({ schema, mediaType, isBinary }: DeclaredResponse['content'][number], where: string, path: Path, report: Report): void {
  const fault = schemaFault(schema)
  if (fault !== null) fail(report, path, 'schema', `${where} has a schema that ${fault}.`)
  else if (isBinary || !isJsonType(mediaType)) fail(report, path, 'schema', `${where} has a schema of ${mediaType}; only JSON is held to one.`, 'warning')
}

function lintLimit(bytes: number | null, path: Path, report: Report): void {
  if (bytes === null || bytes <= MAX_BINARY_BYTES) return
  fail(report, [...path, 'maxBinarySize'], 'binary', `is past the ${spellBytes(MAX_BINARY_BYTES)} that are held in memory; it is read as that.`, 'warning')
}

function lintUnitOutputs(capability: Capability, unit: Pick<RestOperation, 'name' | 'action'>, path: Path, report: Report): void {
  const outputs: readonly Output[] = unit.action.kind === 'call' ? unit.action.outputs : []
  if (outputs.length > 0 && givesBytes(capability, unit.action)) {
    fail(report, path, 'binary', `has "${unit.name}", which answers bytes, and outputParameters; they have no effect.`, 'warning')
  }
}

/** Whether an action ends with a call whose answer is bytes. */
function givesBytes(capability: Capability, action: Action): boolean {
  return calledOperations(capability, action).at(-1)?.format === 'binary'
}
