/** An answer that is an error. */
import { Type } from 'typebox'
import { Text } from './words.ts'

export const ErrorBody = Type.Object(
  {
    error: Type.Object({
      code: Text('A word of the error catalogue; stable.'),
      message: Text('One sentence for a person: what is wrong and what to do.'),
      details: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]), {
        description: 'Data behind the sentence: the field, the phase that refused.',
      }),
      retry: Type.Boolean({ description: 'Whether the same call may succeed later.' }),
    }),
  },
  { $id: 'Error' },
)
