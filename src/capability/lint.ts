/**
 * What must hold between the parts of a document: references lead somewhere, paths and patterns can be read, ports are
 * apart, hints tell the truth. What would fail when it is called is an error; what is understood otherwise, a warning.
 */
import { pathFault } from './json-path.ts'
import { findFunction, findOperation, isExec } from './model.ts'
import type { Action, Capability, ConsumedOperation, McpExpose, McpTool, Output, RestExpose, SkillExpose, Unit } from './model.ts'
import { calledOperations } from './called.ts'
import { unitInputs } from './inputs.ts'
import { lintBinaryOperation, lintMcpAnswers, lintRestAnswers } from './lint-answers.ts'
import { isStepPath, referredInput } from './reference.ts'
import { HEADER_NAME } from './request.ts'
import { scriptFault } from './script/files.ts'
import { fail, isObject } from './shape.ts'
import type { Path, Report, Severity } from './shape.ts'
import { namesIn, namesInPath } from './template.ts'
import { HOP_BY_HOP } from './upstream.ts'

/** The lint of one document; `raw` is what was read, for the places of findings. */
export function lintCapability(capability: Capability, raw: Readonly<Record<string, unknown>>, report: Report): void {
  const body: Path = raw['capability'] === undefined ? [] : ['capability']
  lintBinds(capability, raw, report)
  lintNamespaces(capability, body, report)
  lintConsumes(capability, raw, body, report)
  capability.aggregates.forEach((aggregate, at) => {
    for (const unit of aggregate.functions) {
      lintUnit(capability, unit, aggregate.namespace, [...body, 'aggregates', at], report)
    }
  })
  capability.exposes.forEach((expose, at) => {
    const path = [...body, 'exposes', at]
    if (expose.type === 'rest') lintRest(capability, expose, raw, path, report)
    else if (expose.type === 'mcp') lintMcp(capability, expose, raw, path, report)
    else if (expose.type === 'skill') lintSkills(capability, expose, path, report)
    else fail(report, path, 'not-served', `is an adapter of type "${expose.type}", which this runner doesn't serve.`, 'warning')
  })
  const ports = capability.exposes.flatMap((each) => ('port' in each && each.port !== 0 ? [`${each.port} of ${each.address ?? '127.0.0.1'}`] : []))
  const twice = ports.find((each, at) => ports.indexOf(each) !== at)
  if (twice !== undefined) fail(report, [...body, 'exposes'], 'port', `use the port ${twice} twice.`)
  const overStdio = capability.exposes.filter((each) => each.type === 'mcp' && each.transport === 'stdio')
  if (overStdio.length > 1) fail(report, [...body, 'exposes'], 'port', `have ${overStdio.length} adapters over stdio, and there is one stdin.`)
}

/** The bound variable that no template names, if there is just one and no consumed API authenticates. */
export function implicitCredential(capability: Capability): string | null {
  const isOpen = capability.consumes.length > 0 && capability.consumes.every((each) => each.authentication === null)
  const [name, ...more] = unusedVariables(capability)
  return isOpen && name !== undefined && more.length === 0 ? name : null
}

function unusedVariables(capability: Capability): readonly string[] {
  const text = JSON.stringify([capability.consumes, capability.exposes, capability.aggregates])
  const named = new Set(namesIn(text))
  const environment = new Set(capability.consumes.flatMap((each) => each.operations).flatMap((each) => each.inputs.filter((input) => input.place === 'environment').map((input) => input.name)))
  return capability.binds.flatMap((bind) => Object.keys(bind.keys).filter((name) => !named.has(name) && !named.has(`${bind.namespace}.${name}`) && !environment.has(name)))
}

function lintBinds(capability: Capability, raw: Readonly<Record<string, unknown>>, report: Report): void {
  const path: Path = raw['binds'] === undefined ? ['capability', 'binds'] : ['binds']
  capability.binds.forEach((bind, at) => {
    if (bind.location !== null && !bind.location.startsWith('file:')) {
      fail(report, [...path, at, 'location'], 'location', `is ${bind.location}, and variables are read from file: addresses and from the environment alone: leave it out to take them from there.`)
    }
  })
  const holder = (name: string): number => capability.binds.findIndex((each) => Object.hasOwn(each.keys, name))
  const implicit = implicitCredential(capability)
  for (const name of unusedVariables(capability)) {
    const meaning =
      name === implicit
        ? `it is sent upstream as the bearer token; say so: authentication: {type: bearer, token: "{{${name}}}"}.`
        : 'the document asks for it in vain.'
    fail(report, [...path, holder(name)], 'unused-bind', `binds ${name}, which nothing in the document names; ${meaning}`, 'warning')
  }
}

function lintNamespaces(capability: Capability, body: Path, report: Report): void {
  const parts = { consumes: capability.consumes, aggregates: capability.aggregates, exposes: capability.exposes }
  for (const [part, entries] of Object.entries(parts)) {
    const names = entries.map((each) => each.namespace).filter((each) => each !== '')
    const twice = names.find((each, at) => names.indexOf(each) !== at)
    if (twice !== undefined) fail(report, [...body, part], 'namespace', `use the namespace "${twice}" twice.`)
  }
}

function lintConsumes(capability: Capability, raw: Readonly<Record<string, unknown>>, body: Path, report: Report): void {
  capability.consumes.forEach((consume, at) => {
    const path: Path = [...body, 'consumes', at]
    const source = lookAt(raw, path)
    if (isObject(source) && typeof source['baseUri'] === 'string' && source['baseUri'].endsWith('/')) {
      fail(report, [...path, 'baseUri'], 'base-uri', 'ends with a slash, which is left out.', 'warning')
    }
    if (isObject(source) && source['tunnel'] !== undefined) fail(report, [...path, 'tunnel'], 'not-served', 'is a tunnel, which this runner has none of.')
    const names = consume.operations.map((each) => each.name)
    const twice = names.find((each, index) => names.indexOf(each) !== index)
    if (twice !== undefined) fail(report, path, 'duplicate', `has two operations "${twice}"; calls reach the first.`, 'warning')
    const key = consume.authentication?.type === 'apikey' && consume.authentication.placement === 'header' ? consume.authentication.key : null
    if (key !== null && !key.includes('{{') && !HEADER_NAME.test(key)) fail(report, [...path, 'authentication'], 'header', `has the key "${key}", which is no name of a header.`)
    const bound = new Set(capability.binds.flatMap((each) => Object.keys(each.keys).flatMap((key) => [key, `${each.namespace}.${key}`])))
    for (const name of namesIn(JSON.stringify(consume.authentication))) {
      if (!bound.has(name)) fail(report, [...path, 'authentication'], 'unbound', `names {{${name}}}, which no bind gives.`)
    }
    for (const operation of consume.operations) lintOperation(operation, path, report)
  })
}

function lintOperation(operation: ConsumedOperation, path: Path, report: Report): void {
  const where = `has an operation "${operation.name}"`
  const needsSchema = operation.format === 'avro' || operation.format === 'protobuf'
  if (needsSchema && operation.outputSchema === null) fail(report, path, 'format', `${where} that answers ${operation.format}, and no outputSchema that names its schema's file.`)
  for (const output of operation.outputs) lintOutput(output, path, where, report)
  lintBinaryOperation(operation, path, report)
  const places = new Set(operation.inputs.filter((each) => each.place === 'path').map((each) => each.name))
  const inPath = new Set(namesInPath(operation.path))
  for (const name of places) {
    if (!inPath.has(name)) fail(report, path, 'path', `${where} with a path input "${name}" that its path ${operation.path} has no place for.`, 'warning')
  }
  if (!/^(?:[/?]|$)/.test(operation.path)) fail(report, path, 'path', `${where} with the path ${operation.path}, which is put behind a slash.`, 'warning')
  for (const { name, place } of operation.inputs) {
    if (place === 'header' && HOP_BY_HOP.has(name.toLowerCase())) fail(report, path, 'header', `${where} with the header ${name}, which belongs to the connection and is not sent.`, 'warning')
  }
  if (isExec(operation)) fail(report, path, 'exec', `${where} that is an exec: it is run over a WebSocket to the command's end and answered as one document.`, 'warning')
}

function lintOutput(output: Output, path: Path, where: string, report: Report): void {
  const fault = output.mapping === null ? null : pathFault(output.mapping)
  if (fault !== null) fail(report, path, 'json-path', `${where} with the path "${output.mapping}", which can't be read: ${fault}`)
  for (const each of [...Object.values(output.properties ?? {}), ...(output.items ?? [])]) lintOutput(each, path, where, report)
}

/** Resources can't declare inputs: theirs always follow. */
function lintUnit(capability: Capability, unit: Unit, namespace: string, path: Path, report: Report, mayDeclare = true): void {
  const { action } = unit
  const where = `has "${unit.name}"`
  const missing = (what: string, name: string): void => fail(report, path, 'reference', `${where}, whose ${what} "${name}" leads nowhere.`)
  if (action.kind === 'ref' && findFunction(capability, action.ref) === null) return missing('ref', action.ref)
  if (action.kind === 'call' && findOperation(capability, action.call) === null) return missing('call', action.call)
  if (action.kind === 'steps') {
    for (const [at, step] of action.steps.entries()) {
      const before = action.steps.slice(0, at).map((each) => each.name)
      if (step.kind === 'call' && findOperation(capability, step.call) === null) return missing('step calls', step.call)
      if (step.kind === 'lookup' && !before.includes(step.index)) return missing('lookup into', step.index)
      for (const value of step.kind === 'lookup' ? [step.lookupValue] : Object.values(step.with)) {
        if (typeof value === 'string' && value.startsWith('$.') && !isStepPath(value, Object.fromEntries(before.map((each) => [each, null])))) {
          fail(report, path, 'literal', `${where}, whose step "${step.name}" has "${value}": no step before it has that name, so that it is sent as it stands.`, 'warning')
        }
      }
      const fault = step.kind === 'script' ? scriptFault(step, capability.scripting) : null
      if (fault !== null) fail(report, path, 'script', `${where}, whose step "${step.name}" ${fault}`)
      if (before.includes(step.name)) fail(report, path, 'duplicate', `${where} with two steps "${step.name}".`)
    }
    for (const mapping of action.mappings) {
      const fault = mapping.value.startsWith('$') ? pathFault(mapping.value) : null
      if (fault !== null) fail(report, path, 'json-path', `${where} with the path "${mapping.value}", which can't be read: ${fault}`)
      else if (mapping.value.startsWith('$.') && !isStepPath(mapping.value, Object.fromEntries(action.steps.map((each) => [each.name, null])))) {
        fail(report, path, 'literal', `${where}, whose mapping of "${mapping.target}" is "${mapping.value}": no step has that name, so that it is answered as it stands.`, 'warning')
      }
    }
  }
  for (const name of undeclared(unit, namespace)) fail(report, path, 'undeclared', `${where}, whose "with" names an input "${name}" that it does not declare, so that nothing is given.`, 'warning')
  if (action.kind !== 'ref') for (const output of action.outputs) lintOutput(output, path, where, report)
  if (action.kind === 'mock' && action.outputs.length === 0) fail(report, path, 'mode', `${where}, which says not what it does.`)
  if (unit.inputs === null && action.kind !== 'mock' && mayDeclare) {
    const { inputs } = unitInputs(capability, unit, namespace)
    if (inputs.length > 0) fail(report, path, 'derived-inputs', `${where} without inputParameters; they follow from what it calls: ${inputs.map((each) => each.name).join(', ')}.`, 'warning')
  }
  return undefined
}

/** Inputs that a `with` names and the unit, which declares its inputs, has not. */
function undeclared({ inputs, action }: Unit, namespace: string): readonly string[] {
  if (inputs === null) return []
  const isDeclared = (name: string): boolean => inputs.some((each) => each.name === name || name.startsWith(`${each.name}.`))
  const named = givenBy(action).flatMap((value) => referredInput(value, [namespace]) ?? [])
  return [...new Set(named)].filter((name) => !isDeclared(name))
}

function givenBy(action: Action): readonly (string | number)[] {
  if (action.kind === 'mock') return []
  if (action.kind !== 'steps') return Object.values(action.with)
  return action.steps.flatMap((step) => (step.kind === 'lookup' ? [step.lookupValue] : Object.values(step.with)))
}

function lintRest(capability: Capability, expose: RestExpose, raw: Readonly<Record<string, unknown>>, path: Path, report: Report): void {
  const seen = new Set<string>()
  lintRestAnswers(capability, expose, path, report)
  const source = lookAt(raw, [...path, 'resources'])
  expose.resources.forEach((resource, at) => {
    const place: Path = [...path, 'resources', ...(Array.isArray(source) ? [at] : [])]
    for (const operation of resource.operations) {
      lintUnit(capability, operation, expose.namespace, place, report)
      const places = new Set(namesInPath(resource.path))
      for (const input of operation.inputs ?? []) {
        if (input.place === 'path' && input.value === null && !places.has(input.name)) fail(report, place, 'path', `has "${operation.name}" with a path input "${input.name}" that its path ${resource.path} has no place for.`, 'warning')
      }
      const route = `${operation.method} ${resource.path.replace(/\{+[^{}]+\}+/g, '{}')}`
      if (seen.has(route)) fail(report, place, 'duplicate', `has two operations for ${operation.method} ${resource.path}; the first answers.`, 'warning')
      seen.add(route)
      const called = operation.action.kind === 'call' ? findOperation(capability, operation.action.call) : null
      if (called !== null && isExec(called) && operation.method === 'GET') {
        fail(report, place, 'unsafe-get', `runs commands with a GET; POST to the same path is served too, and is the better one.`, 'warning')
      }
    }
    const target = resource.forward?.targetNamespace
    if (target !== undefined && !capability.consumes.some((each) => each.namespace === target)) {
      fail(report, place, 'reference', `forwards to "${target}", which is not among the consumed APIs.`)
    }
  })
}

function lintMcp(capability: Capability, expose: McpExpose, raw: Readonly<Record<string, unknown>>, path: Path, report: Report): void {
  const source = lookAt(raw, [...path, 'tools'])
  lintMcpAnswers(capability, expose, path, report)
  expose.tools.forEach((tool, at) => {
    const place: Path = [...path, 'tools', Array.isArray(source) ? at : tool.name]
    lintUnit(capability, tool, expose.namespace, place, report)
    for (const { severity, message } of hintFaults(capability, tool)) fail(report, [...place, 'hints'], 'hints', message, severity)
  })
  for (const resource of expose.resources) {
    if (resource.unit !== null) lintUnit(capability, resource.unit, expose.namespace, [...path, 'resources'], report, false)
  }
  for (const prompt of expose.prompts) {
    const known = new Set(prompt.arguments.map((each) => each.name))
    const odd = prompt.template.flatMap(({ content }) => namesIn(content)).find((name) => !known.has(name))
    if (odd !== undefined) fail(report, [...path, 'prompts'], 'undeclared', `have a prompt "${prompt.name}" that names {{${odd}}}, which is none of its arguments.`, 'warning')
  }
  const names = expose.tools.map((each) => each.name)
  const twice = names.find((each, at) => names.indexOf(each) !== at)
  if (twice !== undefined) fail(report, [...path, 'tools'], 'duplicate', `have two tools "${twice}".`)
}

function lintSkills(capability: Capability, expose: SkillExpose, path: Path, report: Report): void {
  for (const skill of expose.skills) {
    for (const tool of skill.tools) {
      const where = `have a skill "${skill.name}" with a tool "${tool.name}"`
      if (tool.from === null) {
        if (skill.location === null) fail(report, [...path, 'skills'], 'reference', `${where} that is an instruction, and no location where it lies.`)
        continue
      }
      const { namespace, action } = tool.from
      const target = capability.exposes.find((each) => each.namespace === namespace && (each.type === 'rest' || each.type === 'mcp'))
      if (target === undefined) fail(report, [...path, 'skills'], 'reference', `${where} from "${namespace}", which is no adapter of REST or MCP of this document.`)
      const actions = target?.type === 'mcp' ? target.tools : target?.type === 'rest' ? target.resources.flatMap((each) => each.operations) : null
      if (actions !== null && !actions.some((each) => each.name === action)) fail(report, [...path, 'skills'], 'reference', `${where} whose action "${action}" leads nowhere in "${namespace}".`, 'warning')
    }
  }
}

function hintFaults(capability: Capability, tool: McpTool): readonly { severity: Severity; message: string }[] {
  const operations = calledOperations(capability, tool.action)
  const claimed = [...(tool.hints.readOnly === true ? ['readOnly'] : []), ...(tool.hints.idempotent === true ? ['idempotent'] : [])]
  if (operations.some(isExec)) {
    const isWrong = claimed.length > 0 || tool.hints.destructive === false
    const message = `of "${tool.name}" call running commands ${claimed.join(' and ') || 'not destructive'}; it is announced as destructive, neither read-only nor idempotent.`
    return isWrong ? [{ severity: 'warning', message }] : []
  }
  const writes = operations.filter((each) => each.method !== 'GET')
  if (tool.hints.readOnly !== true || writes.length === 0) return []
  const message = `of "${tool.name}" say readOnly, and it calls ${writes[0]?.method} ${writes[0]?.path}; it is announced as not read-only.`
  return [{ severity: 'warning', message }]
}

function lookAt(raw: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, part) => (Array.isArray(at) ? (at as unknown[])[Number(part)] : isObject(at) ? at[part] : undefined), raw)
}
