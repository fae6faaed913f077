/**
 * Projects, and who administers what: an `admin` key of the default project is the operator's and reaches every
 * project; an `admin` key of another project administers its own.
 */
import { BerthError } from '../instance/errors.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import type { Project, ProjectId } from '../instance/model.ts'
import { checkLabel } from '../instance/names.ts'
import { requireScope } from './access.ts'
import type { Caller, Projects } from './api.ts'
import type { Core } from './core.ts'

export const DEFAULT_PROJECT_NAME = 'default'
const PROJECT_LIMIT = 10_000

/** The operator's own project: the oldest. */
export async function defaultProject(core: Pick<Core, 'store'>): Promise<Project | null> {
  const all = await core.store.read.projects()
  return all.toSorted((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))[0] ?? null
}

export async function isOperator(core: Pick<Core, 'store'>, caller: Caller): Promise<boolean> {
  return caller.scopes.includes('admin') && (await defaultProject(core))?.id === caller.projectId
}

/** Makes the default project on the first start. */
export async function ensureDefaultProject(core: Core): Promise<Project> {
  const existing = await defaultProject(core)
  if (existing !== null) return existing
  const project: Project = {
    id: newId('project', core.randomBytes(ID_BYTES)),
    name: DEFAULT_PROJECT_NAME,
    guestToGuest: false,
    createdAt: core.now(),
  }
  await core.store.transaction(tx => tx.putProject(project))
  return project
}

/** The project, if the caller may administer it; otherwise it is not found. */
export async function administered(core: Core, caller: Caller, id: ProjectId): Promise<Project> {
  const project = await core.store.read.project(id)
  if (project !== null && (caller.projectId === id || (await isOperator(core, caller)))) return project
  throw new BerthError('not_found', `There is no project ${id}.`, { details: { projectId: id } })
}

export function makeProjects(core: Core): Projects {
  return {
    async create(caller, request) {
      requireScope(caller, 'admin')
      if (!(await isOperator(core, caller))) throw new BerthError('forbidden', 'Only an admin key of the default project makes projects.')
      checkLabel('project', request.name)
      const project: Project = {
        id: newId('project', core.randomBytes(ID_BYTES)),
        name: request.name,
        guestToGuest: request.guestToGuest ?? false,
        createdAt: core.now(),
      }
      await core.store.transaction(async tx => {
        const all = await tx.projects()
        if (all.some(other => other.name === project.name)) throw nameTaken(project.name)
        if (all.length >= PROJECT_LIMIT) throw new BerthError('limit_exceeded', `There are ${PROJECT_LIMIT} projects already.`)
        await tx.putProject(project)
        await core.audit.record(tx, caller, { action: 'project.create', target: { kind: 'project', id: project.id, name: project.name } })
      })
      return project
    },
    async get(caller, id) {
      requireScope(caller, caller.projectId === id ? 'read' : 'admin')
      return administered(core, caller, id)
    },
    async list(caller) {
      requireScope(caller, 'read')
      const all = await core.store.read.projects()
      return (await isOperator(core, caller)) ? all : all.filter(project => project.id === caller.projectId)
    },
    async update(caller, id, change) {
      requireScope(caller, 'admin')
      await administered(core, caller, id)
      if (change.name !== undefined) checkLabel('project', change.name)
      return core.store.transaction(async tx => {
        const project = await tx.project(id)
        if (project === null) throw new BerthError('not_found', `There is no project ${id}.`)
        const { name } = change
        if (name !== undefined && (await tx.projects()).some(other => other.name === name && other.id !== id)) throw nameTaken(name)
        const next = { ...project, ...change }
        await tx.putProject(next)
        await core.audit.record(tx, caller, { action: 'project.update', target: { kind: 'project', id, name: next.name }, details: { changed: Object.keys(change) } })
        return next
      })
    },
  }
}

function nameTaken(name: string): BerthError {
  return new BerthError('name_conflict', `There is already a project named ${name}: choose another name.`, { details: { name } })
}
