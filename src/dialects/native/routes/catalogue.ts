/** `/berth/v1/catalogue`: the types of instance and regions that the operator offers to the clouds' clients. */
import { Type } from 'typebox'
import type { AddRoutes } from '../app.ts'
import { presentCatalogue } from '../present.ts'

export const catalogueRoutes: AddRoutes = (app, { catalogue }) => {
  app.get('/catalogue', {
    schema: {
      tags: ['host'],
      operationId: 'catalogue',
      summary: 'Types of instance and regions',
      description: 'What `config/catalogue.json` says, with the names that each dialect has for them. The native API takes any size.',
      response: { 200: Type.Ref('Catalogue#') },
    },
    handler: async () => presentCatalogue(catalogue),
  })
}
