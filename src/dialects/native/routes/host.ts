/** `/berth/v1/host`, `/resources`, `/devices` and `/version`: the machine and the server. */
import { Type } from 'typebox'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { presentDevice, presentHost, presentResources } from '../present.ts'
import { VersionBody } from '../schema/host.ts'
import { page } from '../schema/page.ts'

const tags = ['host']

export const hostRoutes: AddRoutes = (app, { engine, version }) => {
  app.get('/host', {
    schema: { tags, operationId: 'host', summary: 'The machine that runs instances', response: { 200: Type.Ref('Host#') } },
    handler: async (request) => presentHost((await engine.resources(callerOf(request))).host),
  })

  app.get('/resources', {
    schema: { tags, operationId: 'resources', summary: 'What the machine has, and who holds it', response: { 200: Type.Ref('Resources#') } },
    handler: async (request) => presentResources(await engine.resources(callerOf(request))),
  })

  app.get('/devices', {
    schema: { tags, operationId: 'listDevices', summary: 'GPUs and other PCI devices', response: { 200: page(Type.Ref('Device#')) } },
    handler: async (request) => ({ items: (await engine.devices(callerOf(request))).map(presentDevice), next: null }),
  })

  app.get('/version', {
    config: { open: true },
    schema: { tags, operationId: 'version', summary: 'Version of the server', security: [], response: { 200: VersionBody } },
    handler: async () => ({ name: 'berth' as const, version, api: '/berth/v1' as const }),
  })
}
