/** What the catalogue's types have room for, region by region. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Text, nullable } from './words.ts'

export const CapacityBody = Type.Object(
  {
    type: Text('Id of the type.'),
    description: Type.String(),
    region: Text('Id of the region.'),
    simulated: Type.Boolean({ description: 'The region only pretends: nothing really runs there.' }),
    vcpus: Type.Integer(),
    memoryBytes: Type.Integer(),
    diskBytes: Type.Integer(),
    gpu: nullable(Type.Object({ model: Type.String(), count: Type.Integer(), memoryBytes: Type.Integer() })),
    priceMicrosPerHour: Type.Integer({ description: 'In micro-dollars.' }),
    used: Type.Integer({ description: 'Instances that were made as this type there, and run.' }),
    free: Type.Integer({ description: 'How many more could be made now.' }),
  },
  { $id: 'Capacity' },
)
export type CapacityBody = Static<typeof CapacityBody>
