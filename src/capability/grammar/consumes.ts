/** What the grammar says of consumed APIs: where they are, how they are asked, what they answer. */
import { literal, record, text } from '../shape.ts'
import type { Rule } from '../shape.ts'
import type { Spelled } from './spelling.ts'
import { authentication, inputName, kebab, method, name, outputType, requestBody, resourceName, size } from './words.ts'

export function consumeRule({ isKeyed, labels, named }: Spelled): Rule {
  const consumedInputs = named(
    inputName,
    { in: literal('query', 'header', 'path', 'cookie', 'body', 'environment'), value: text() },
    {
      required: ['in'],
      tolerated: {
        type: 'inputs of tools and paths take their type from it.',
        description: 'inputs of tools take their description from it.',
        required: 'inputs of tools and paths are required by it.',
      },
    },
    0,
  )
  const consumedOutputs = named(name, { type: outputType, value: text() }, { required: ['type', 'value'] }, 0)
  return record(
    {
      namespace: kebab,
      type: literal('http'),
      description: text(),
      baseUri: text({ pattern: /^https?:\/\/[^/]+(\/[^{]*)?$/, what: 'an http or https address without templates' }),
      authentication,
      inputParameters: consumedInputs,
      ...(isKeyed
        ? { tunnel: record({ type: literal('ziti'), service: text(), identity: text(), fallback: literal('fail', 'direct') }, { required: ['type', 'service', 'identity'] }) }
        : {}),
      resources: named(
        resourceName,
        {
          ...labels,
          path: text(),
          inputParameters: consumedInputs,
          operations: named(
            kebab,
            {
              ...labels,
              method,
              inputParameters: consumedInputs,
              outputRawFormat: literal('json', 'xml', 'avro', 'protobuf', 'csv', 'tsv', 'psv', 'yaml', 'html', 'markdown', ...(isKeyed ? ['binary'] : [])),
              outputSchema: text(),
              outputParameters: consumedOutputs,
              body: requestBody,
              ...(isKeyed ? { outputMediaType: text(), maxBinarySize: size } : {}),
            },
            { required: ['method'] },
          ),
        },
        { required: ['path', 'operations'] },
      ),
    },
    { required: ['namespace', 'type', 'baseUri'] },
  )
}
