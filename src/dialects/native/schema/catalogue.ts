/** The catalogue: types of instance and regions, with each dialect's names. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { nullable, Text } from './words.ts'

const Names = Type.Record(Type.String(), Type.String(), { description: 'How a dialect (`koyeb`, `lambda`, `mithril`) calls it; one that is not here does not offer it.' })

export const CatalogueBody = Type.Object(
  {
    types: Type.Array(
      Type.Object({
        id: Type.String(),
        description: Type.String(),
        vcpus: Type.Integer(),
        cpuShares: Type.Number({ description: 'What part of the vCPUs is promised.' }),
        memoryBytes: Type.Integer(),
        diskBytes: Type.Integer(),
        gpu: nullable(Type.Object({ model: Type.String(), count: Type.Integer(), memoryBytes: Type.Integer() })),
        priceMicrosPerHour: Type.Integer({ description: 'Micro-dollars.' }),
        names: Names,
      }),
    ),
    regions: Type.Array(
      Type.Object({ id: Type.String(), description: Text('For a person.'), names: Names, simulated: Type.Boolean({ description: 'Its machines only pretend.' }) }),
    ),
  },
  { $id: 'Catalogue' },
)
export type CatalogueBody = Static<typeof CatalogueBody>
