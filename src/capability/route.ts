/** The routes of a REST adapter: paths with `{name}` or `{{name}}`, the more literal first; what fits no method says which do. */
import type { Method, RestOperation, RestResource } from './model.ts'
import { namesInPath } from './template.ts'

export interface Route {
  readonly resource: RestResource
  readonly pattern: RegExp
  readonly names: readonly string[]
  /** How many characters are literal: `/a/b` goes before `/a/{x}`. */
  readonly weight: number
  readonly operations: ReadonlyMap<Method, RestOperation>
  readonly isForward: boolean
}

export interface Match {
  readonly route: Route
  readonly path: Readonly<Record<string, string>>
  /** Of a forward: what follows its path. */
  readonly rest: string
}

export function makeRoutes(resources: readonly RestResource[]): readonly Route[] {
  const routes = resources.map((resource) => makeRoute(resource, resource.path))
  // Catalogues publish `/v1` before paths that begin with it already; the sane spelling is served beside theirs.
  const paths = new Set(resources.map((each) => each.path))
  const aliases = resources.flatMap((resource) => {
    const alias = /^\/(v\d+)(\/\1\/.*)$/.exec(resource.path)?.[2]
    return alias === undefined || paths.has(alias) ? [] : [makeRoute(resource, alias)]
  })
  return [...routes, ...aliases].sort((a, b) => Number(a.isForward) - Number(b.isForward) || b.weight - a.weight)
}

function makeRoute(resource: RestResource, path: string): Route {
  const isForward = resource.forward !== null
  const names = namesInPath(path)
  // The last template of a forward takes all that follows.
  const fixed = isForward ? path.replace(/\/?\{\{?[^{}]+\}?\}$/, '') : path
  const literal = fixed.split(/\{\{[^{}]+\}\}|\{[^{}]+\}/)
  const source = literal.map((each) => each.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('([^/]+)')
  const operations = new Map<Method, RestOperation>()
  for (const each of resource.operations) if (!operations.has(each.method)) operations.set(each.method, each)
  return {
    resource,
    pattern: new RegExp(isForward ? `^${source.replace(/\/$/, '')}(/.*)?$` : `^${source.replace(/\/$/, '') || '/'}/?$`),
    names: isForward ? names.slice(0, literal.length - 1) : names,
    weight: literal.join('').length,
    operations,
    isForward,
  }
}

/** Every route that fits a path, best first; a path that isn't percent-encoded rightly fits none. */
export function matchRoutes(routes: readonly Route[], pathname: string): readonly Match[] {
  return routes.flatMap((route): Match[] => {
    const found = route.pattern.exec(pathname)
    if (found === null) return []
    try {
      const path = Object.fromEntries(route.names.map((name, at) => [name, decodeURIComponent(found[at + 1] ?? '')]))
      return [{ route, path, rest: route.isForward ? (found[route.names.length + 1] ?? '') : '' }]
    } catch {
      return []
    }
  })
}
