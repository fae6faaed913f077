/** Upstream bodies in formats that need a schema beside them: Avro and Protocol Buffers, each by the file that the document names. */
import avro from 'avsc'
import protobuf from 'protobufjs'
import type { Json } from './model.ts'

/** Reads bodies of one schema. Throws if the body isn't of it. */
export type SchemaReader = (body: Buffer) => Json

/** The reader of a schema's text. Throws if it is no schema. */
export function makeSchemaReader(format: 'avro' | 'protobuf', schema: string): SchemaReader {
  return format === 'avro' ? avroReader(schema) : protobufReader(schema)
}

function avroReader(schema: string): SchemaReader {
  const type = avro.Type.forSchema(JSON.parse(schema) as avro.Schema)
  return (body) => JSON.parse(type.toString(type.fromBuffer(body))) as Json
}

/** The first message of the file is the answer's. */
function protobufReader(schema: string): SchemaReader {
  const { root } = protobuf.parse(schema, { keepCase: true })
  const type = firstMessage(root)
  if (type === null) throw new Error('it has no message')
  return (body) => type.toObject(type.decode(body), { longs: String, enums: String, bytes: String, defaults: true }) as Json
}

function firstMessage(space: protobuf.NamespaceBase): protobuf.Type | null {
  for (const each of space.nestedArray) {
    if (each instanceof protobuf.Type) return each
    const inner = each instanceof protobuf.Namespace ? firstMessage(each) : null
    if (inner !== null) return inner
  }
  return null
}
