/** `/berth/v1/capacity`: which types there are, where, and how many more of each could be made now. */
import { Type } from 'typebox'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import type { CapacityBody } from '../schema/capacity.ts'
import { page } from '../schema/page.ts'

export const capacityRoutes: AddRoutes = (app, { engine, catalogue }) => {
  app.get('/capacity', {
    schema: {
      tags: ['host'],
      operationId: 'listCapacity',
      summary: 'Types, regions and what is free',
      description: 'Every type of the catalogue in every region. All of it is one page.',
      response: { 200: page(Type.Ref('Capacity#')) },
    },
    handler: async (request) => {
      const lines = await engine.capacity(callerOf(request))
      const items = catalogue.regions.flatMap((region) =>
        catalogue.types.map((type): CapacityBody => {
          const { id, description, vcpus, memoryBytes, diskBytes, gpu, priceMicrosPerHour } = type
          const line = lines.find((each) => each.region === region.id && each.type === id)
          const sizes = { vcpus, memoryBytes, diskBytes, gpu: gpu === null ? null : { ...gpu }, priceMicrosPerHour }
          return { type: id, description, region: region.id, simulated: region.simulated !== null, ...sizes, used: line?.used ?? 0, free: line?.free ?? 0 }
        }),
      )
      return { items, next: null }
    },
  })
}
